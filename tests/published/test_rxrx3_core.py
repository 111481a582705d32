"""RxRx3-core's files to the benchmark's tables, from the command on."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.published.bray2017 import PublishedError
from molphenix_jax.published.rxrx3_core import make_map, read_wells, scores_by_dose
from molphenix_jax.runtime.progress import console
from tests.published import rxrx3
from tests.retrieval.ranking import made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rxrx3") / "files"
    rxrx3.write(folder)
    return folder


def command(files, *more) -> tuple[int, str]:
    options = [f"--metadata={files / rxrx3.METADATA}", f"--embeddings={files / rxrx3.EMBEDDINGS}"]
    with console.capture() as said:
        status = cli.main(["published", "rxrx3_core", *options, *map(str, more)])
    return status, said.get()


def test_a_map(files):
    wells, notes = read_wells(files / rxrx3.METADATA, files / rxrx3.EMBEDDINGS)
    assert notes == [
        "1 repeated well_id were averaged",
        f"1 wells of {rxrx3.METADATA} have no embedding and are left out",
    ]
    found = make_map(wells)
    assert list(found.genes) == sorted(rxrx3.genes())
    assert len(found.compounds) == 4 * 9
    assert found.compounds["smiles"].iloc[0] == "CCO", "the ChemAxon extension is no part of it"
    # Batches are gone: the same gene in both experiments, and controls near 0.
    assert np.linalg.norm(found.gene_profiles, axis=1).min() > 1
    scores = scores_by_dose(found.compounds, found.compound_profiles, found.gene_profiles)
    assert list(scores) == [*(f"{dose:g}" for dose in rxrx3.DOSES), "max over doses"]
    best = np.max([scores[f"{dose:g}"]["drug1"] for dose in rxrx3.DOSES], axis=0)
    np.testing.assert_array_equal(scores["max over doses"]["drug1"], best)
    twins = ("GENE4", "GENE5")
    assert found.genes[int(scores["10"]["drug1"].argmax())] in twins


def test_the_command(files, tmp_path):
    run = made.write_run(
        tmp_path / "run",
        features=[f"feature_{j}" for j in range(rxrx3.WIDTH)],
        train=["CCN(CC)CC", "CCCCCO"],
    )
    out = tmp_path / "out"
    status, said = command(
        files,
        f"--truth={files / rxrx3.TRUTH}",
        *("--relations", files / "benchmark_annotations", f"--run={run}"),
        *("--seeds=3", "--out", out),
    )
    assert status == 0, said
    table = pd.read_csv(out / "compound_gene.csv").set_index("concentration")
    assert table["n_compounds"].tolist() == [4] * 9
    assert table.loc["10", "ap"] > 0.8
    assert table.loc["max over doses", "auroc"] > 0.8
    assert 0.2 < float(np.mean(table["auroc_random"])) < 0.8
    other = pd.read_csv(out / "compound_gene_by_structure.csv")
    assert other["n_compounds"].tolist() == [4] * 9
    assert np.isfinite(other["ap"].to_numpy(float)).all()
    pairs = pd.read_csv(out / "known_pairs.csv").set_index("source")
    assert pairs.loc["CORUM", "these embeddings"] > 0.8
    assert pairs.loc["CORUM", "CellCLIP, published"] == 0.714
    assert np.isnan(pairs.loc["mine", "these embeddings"])
    assert pairs["pairs"].tolist() == [20, 5]
    assert "1 of 4 compounds were seen in the run's training or validation" in said
    assert "CellCLIP (arXiv 2506.06290), Table 4" in said
    assert "is there already" in command(files, "--relations=x", f"--out={out}")[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give --truth=compound_gene_interactions.csv, --relations=DIR, or both"),
        (["--relations={}", "--run=x"], "--run is for the compound-gene benchmark: give --truth"),
        (["--relations={}/none"], "no .txt in it; give the folder benchmark_annotations"),
        (["--truth={}/" + rxrx3.METADATA], "no column gene_symbol (nearest: gene)"),
        (["--truth={}/gone.csv"], "gone.csv: cannot be read"),
    ],
)
def test_what_is_missing(files, options, says):
    status, said = command(files, *(option.format(files) for option in options))
    assert status == 1
    assert says in said.replace("\n", " ")


def test_files_that_do_not_belong_together(files, tmp_path):
    metadata = pd.read_csv(files / rxrx3.METADATA)
    table = pd.read_parquet(files / rxrx3.EMBEDDINGS)
    other = tmp_path / "other.parquet"
    table.assign(well_id="gene-009_Plate1_A1").to_parquet(other)
    with pytest.raises(PublishedError, match="has none of the wells of .*gene-001_1_A000"):
        read_wells(files / rxrx3.METADATA, other)
    table.rename(columns={"well_id": "well"}).to_parquet(other)
    with pytest.raises(PublishedError, match="needs well_id and feature_0"):
        read_wells(files / rxrx3.METADATA, other)
    alone = tmp_path / "alone.csv"
    metadata[metadata["treatment"] != "EMPTY_control"].to_csv(alone, index=False)
    wells, _ = read_wells(alone, files / rxrx3.EMBEDDINGS)
    with pytest.raises(PublishedError, match="0 wells have the treatment EMPTY_control"):
        make_map(wells)
