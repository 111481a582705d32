"""`molphenix rank`: what is written, and how what cannot be ranked ends."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.retrieval.ranking.queries import Reading, read_queries
from molphenix_jax.runtime.progress import console
from molphenix_jax.wells.inputs.sources import Sources
from tests.retrieval.ranking import made

EFFECTS = {
    ("gene A", "", np.nan): [9, 0, 0, 0, 0, 0],
    ("=1+1", "", np.nan): [0, 9, 0, 0, 0, 0],
    ("nothing", "", np.nan): [0] * 6,
}
# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]

N = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model = made.load(made.write_run(folder / "run", train=["CCO"]))
    wells = made.plates(EFFECTS)
    wells.loc[20, made.FEATURES[0]] = np.nan
    wells.to_csv(folder / "wells.csv", index=False)
    table = made.molecules(N)
    queries = read_queries(Sources.of(folder / "wells.csv"), model, Reading())
    z = made.embedded(model, table)
    z[:3, 1] = model.embed_profiles(queries.profiles, corrected=True)
    made.write_index(folder / "INDEX", model, z, table)
    (folder / "mine.smi").write_text("c1ccncc1CCN first\nnonsense second\nCCOCC third\n")
    pd.DataFrame({"query": ["q", "q"], "profile": ["gene A", "=1+1"], "weight": [1, -1]}).to_csv(
        folder / "q.csv", index=False
    )
    return folder


def rank(*arguments) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["rank", *map(str, arguments)])
    return status, " ".join(said.get().split())


def test_hits_are_written(world, tmp_path):
    out = tmp_path / "hits"
    index = f"--index={world / 'INDEX'}"
    status, said = rank(world / "wells.csv", index, "--top=5", f"--out={out}")
    assert status == 0, said
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "hits.html",
        "hits.csv",
        "hits.parquet",
        "hits.sdf",
        "queries.csv",
        "rejected.csv",
    }
    hits = pd.read_parquet(out / "hits.parquet")
    assert hits.groupby("query", sort=False)["id"].first().to_dict() == {
        "gene A": "m0",
        "=1+1": "m1",
    }
    assert len(hits) == 10
    assert len(pd.read_csv(out / "hits.csv")) == 10
    assert (out / "hits.sdf").read_text().count("$$$$") == 10
    queries = pd.read_csv(out / "queries.csv")
    assert queries["abstained"].tolist() == [False, False, True]
    assert pd.read_csv(out / "rejected.csv")["row"].tolist() == [21]
    assert "1 of 3 profiles look inactive: no hits; --rank-inactive lists them" in said
    assert "not measured: the model keeps no held-out profiles" in said
    again, said = rank(world / "wells.csv", index, f"--out={out}")
    assert again == 1
    assert "is there already" in said


def test_options_reach_the_list(world, tmp_path):
    common = (world / "wells.csv", f"--index={world / 'INDEX'}", f"--model={world / 'run'}")
    options = ("--rank-inactive", "--doses=all", "--filter=mw<600", "--diverse", "--no-chance")
    status, said = rank(*common, *options, "--top=4", f"--out={tmp_path / 'a'}")
    assert status == 0, said
    hits = pd.read_parquet(tmp_path / "a" / "hits.parquet")
    assert set(hits["query"]) == {"gene A", "=1+1", "nothing"}
    assert (hits["mw"] < 600).all()
    assert "it was not asked for" in said
    queries = pd.read_csv(tmp_path / "a" / "queries.csv")
    assert queries["chance_in_list"].isna().all()
    rng, ranks = np.random.default_rng(0), tmp_path / "ranks.csv"
    pd.DataFrame({"fold": np.arange(60) % 5, "inchikey": [f"m{i}" for i in range(60)]}).assign(
        activity_p=0.01, length=rng.lognormal(size=60), drop=0.1, rank=rng.integers(1, N, 60)
    ).assign(gallery=N, top=4, doses="1,10").to_csv(ranks, index=False)
    measured = (f"--chances={ranks}", "--top=4", f"--out={tmp_path / 'c'}")
    status, said = rank(*common, *measured)
    assert status == 0, said
    assert "of 60 held-out profiles (60 molecules) had their molecule among the 4 of 30" in said
    queries = pd.read_csv(tmp_path / "c" / "queries.csv")
    assert (queries["chance_in_list"].isna() == queries["abstained"]).all()
    mixed = ("--combine=+gene A,-nothing", f"--query={world / 'q.csv'}", "--substructure=c1ccccc1")
    status, said = rank(*common, *mixed, f"--out={tmp_path / 'b'}")
    assert status == 0, said
    queries = pd.read_csv(tmp_path / "b" / "queries.csv")
    assert queries["query"].tolist() == ["+gene A,-nothing", "q"] or len(queries) == 2


def test_molecules_against_profiles(world, tmp_path):
    given = (f"--molecules={world / 'mine.smi'}", f"--model={world / 'run'}")
    out = tmp_path / "profiles"
    status, said = rank(world / "wells.csv", *given, "--concentrations=1,3", f"--out={out}")
    assert status == 0, said
    molecules = pd.read_csv(out / "molecules.csv")
    assert molecules["id"].tolist() == ["first", "third"]
    assert {"onset_um", "control_cosine_at_1_um", "control_cosine_at_3_um"} <= set(molecules)
    assert "no onset: the model keeps no held-out" in said
    assert "predicted active" not in said
    profiles = pd.read_csv(out / "profiles.csv")
    assert len(profiles) == 6
    curve = profiles[["cosine_at_1_um", "cosine_at_3_um"]].to_numpy()
    np.testing.assert_allclose(profiles["cosine"], curve.max(axis=1))
    again = pd.read_parquet(out / "profiles.parquet")
    np.testing.assert_allclose(again["cosine"], profiles["cosine"])
    assert pd.read_parquet(out / "molecules.parquet")["id"].tolist() == ["first", "third"]
    assert (out / "molecules.sdf").read_text().count("$$$$") == 2
    assert "Profiles that molecules resemble" in (out / "resembling.html").read_text()
    assert pd.read_csv(out / "rejected_molecules.csv")["row"].tolist() == [2]
    by_wells = rank(f"--wells={world / 'wells.csv'}", *given, f"--out={tmp_path / 'again'}")
    assert by_wells[0] == 0


def test_what_cannot_be_ranked_ends_in_a_sentence(world, tmp_path):
    index, out = f"--index={world / 'INDEX'}", f"--out={tmp_path / 'out'}"
    made.write_run(tmp_path / "other", seed=9)
    for arguments, message in (
        ((world / "gone.csv", index), "gone.csv"),
        ((world / "wells.csv", f"--index={tmp_path}"), "is no index: it has no part"),
        ((world / "wells.csv", f"--index={world / 'wells.csv'}"), "is a file and no index"),
        ((world / "wells.csv", index, f"--model={tmp_path / 'other'}"), "was embedded by"),
        ((world / "wells.csv", index, f"--model={tmp_path / 'gone'}"), "is no folder"),
        ((world / "wells.csv", index, "--filter=mw"), "'mw' is no limit such as mw<500"),
        ((world / "wells.csv", index, "--substructure=c1"), "is not a valid SMARTS"),
        ((world / "wells.csv", index, "--combine=+nobody"), "no profile is called 'nobody'"),
        ((world / "wells.csv", index, "--name=nobody"), "no column 'nobody' for names"),
        ((index,), "give at least one wells table"),
        (
            (
                world / "wells.csv",
                f"--molecules={world / 'mine.smi'}",
                f"--model={world / 'run'}",
                "--concentrations=1,none",
            ),
            "--concentrations=1,none: 'none' is no number above 0",
        ),
    ):
        status, said = rank(*arguments, out)
        assert status == 1, said
        assert message in said
        assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as end:
        rank(world / "wells.csv", out)
    assert end.value.code == 2
