"""`molphenix index`: any library becomes an index, in shards or in one go, whatever stops it."""

import dataclasses
import errno
import gzip
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax import cli
from molphenix_jax.models import ConcentrationEncoding
from molphenix_jax.retrieval import open_index
from molphenix_jax.retrieval.index import building, folder
from molphenix_jax.runtime.progress import console
from molphenix_jax.trained.alignment import write_alignment
from molphenix_jax.wells.conditions.values import Conditions
from tests.retrieval.test_inputs import alignment, init

# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccccc1", "CCN", "CCCl", "CCCCO", "c1ccncc1", "CC(C)O"]
# Of 12 rows: two that repeat a molecule (a salt of CCN, another drawing of CCO), two of garbage.
ROWS = [*SMILES[:4], "OCC", "nonsense", *SMILES[4:7], "CCN.Cl", "=1+1", SMILES[7]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    plain = alignment(conditions=Conditions(), blocks=("maccs",))
    write_alignment(folder / "plain", plain, config={"task": "align"})
    write_alignment(folder / "told", alignment(), config={"task": "align"})
    return folder / "plain"


@pytest.fixture
def library(tmp_path):
    table = pd.DataFrame({"Compound_ID": [f"c{i}" for i in range(12)], "SMILES": ROWS})
    table.to_csv(tmp_path / "library.csv", index=False)
    return tmp_path / "library.csv"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 5)


def run(*words, status=0):
    """What the command said."""
    with console.capture() as said:
        assert cli.main(["index", *map(str, words)]) == status
    return said.get()


def make(library, model, out, *more, status=0):
    given = ("--concentrations=10,0.1", f"--model={model}", f"--out={out}")
    return run(library, *given, *more, status=status)


def test_a_library(library, model, tmp_path):
    said = make(library, model, tmp_path / "INDEX")
    assert "12 rows will take" in said
    assert "of disk" in said
    assert "of memory and about" in said
    assert "molecules are called by 'Compound_ID'" in said
    assert "8 molecules are new, 2 rows repeat a molecule, 2 cannot be used" in said
    index = open_index(tmp_path / "INDEX")
    assert len(list((tmp_path / "INDEX").glob("part-*"))) == 3
    molecules = index.molecules
    assert molecules["id"].tolist() == [f"c{i}" for i in (0, 1, 2, 3, 6, 7, 8, 11)]
    assert molecules["row"].tolist() == [1, 2, 3, 4, 7, 8, 9, 12]
    assert molecules["input_smiles"].tolist() == SMILES
    assert molecules["smiles"].iloc[1] == "Oc1ccccc1"
    assert molecules["inchikey"].iloc[0] == "LFQSCWFLJHTTHZ-UHFFFAOYSA-N"
    assert set(molecules["file"]) == {"library.csv"}
    ours = molphenix_jax.load(model)
    np.testing.assert_allclose(index.doses_um, [0.1, 10])
    for k, dose in enumerate(index.doses_um):
        z = ours.embed_molecules(SMILES, concentration_um=dose)
        np.testing.assert_allclose(index.embeddings(np.arange(8))[:, k], z, atol=1e-6)
    lost = pd.read_csv(tmp_path / "INDEX" / "rejected.csv")
    assert lost["row"].tolist() == [5, 6, 10, 11]
    assert lost["file"].eq("library.csv").all()
    assert lost["reason"].iloc[0].endswith("LFQSCWFLJHTTHZ-UHFFFAOYSA-N")
    assert lost["value"].iloc[3] == "'=1+1"  # no formula to a spreadsheet
    assert index.rejected["value"].iloc[3] == "=1+1"
    index.need_model(ours)
    found = index.search(ours.embed_molecules("CCN", concentration_um=10), top=1)
    assert molecules["id"].iloc[found.molecule[0, 0]] == "c3"
    assert found.scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_shards_are_the_same_index(library, model, tmp_path):
    make(library, model, tmp_path / "whole")
    for shard in (2, 3, 1):
        said = make(library, model, tmp_path / "joined", f"--shard={shard}/3")
    assert "index of" not in said
    joined, whole = open_index(tmp_path / "joined"), open_index(tmp_path / "whole")
    assert joined.molecules.equals(whole.molecules)
    every = np.arange(len(whole))
    np.testing.assert_allclose(joined.embeddings(every), whole.embeddings(every), atol=1e-6)
    assert (tmp_path / "joined" / "rejected-002-of-003.csv").exists()
    assert "shards of 3 of library.csv" in make(
        library, model, tmp_path / "joined", "--shard=1/2", status=1
    )


def test_what_was_stopped_goes_on(library, model, tmp_path, monkeypatch):
    out, write, made = tmp_path / "INDEX", folder.write_part, []

    def stop_at_the_second(*arguments, **named):
        if len(made) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(out))
        made.append(arguments)
        write(*arguments, **named)

    monkeypatch.setattr(building, "write_part", stop_at_the_second)
    assert "No space left on device" in make(library, model, out, status=1)
    assert len(list(out.glob("part-*"))) == 1
    with pytest.raises(folder.LibraryError, match="library.csv 2 of its 3 parts are missing"):
        open_index(out)
    monkeypatch.setattr(building, "write_part", write)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("part-*/*")}
    said = make(library, model, out)
    assert "5 of 12 rows are in the index already" in said
    assert "7 rows will take" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(open_index(out)) == 8
    again = make(library, model, out)
    assert "12 of 12 rows are in the index already" in again
    assert "will take" not in again


def test_add(library, model, tmp_path):
    out = tmp_path / "INDEX"
    make(library, model, out)
    (tmp_path / "more.smi").write_text("CCO ethanol\nCCCCCC hexane\nC1CC1 ring\n")
    said = run("add", tmp_path / "more.smi", f"--out={out}")
    assert "2 molecules are new, 1 rows repeat a molecule, 0 cannot be used" in said
    index = open_index(out)
    assert index.molecules["id"].tolist()[-2:] == ["hexane", "ring"]
    assert len(index) == 10
    assert "3 of 3 rows are in" in run("add", tmp_path / "more.smi", f"--out={out}")
    other = run("add", tmp_path / "more.smi", f"--out={out}", "--concentrations=3", status=1)
    assert "doses_um is [0.1, 10.0] there, not [3.0]" in other
    (tmp_path / "third.smi").write_text("CCCCCCC heptane\n")
    said = make(tmp_path / "third.smi", model, out, status=1)
    assert "is the index of library.csv already" in said
    assert "another file: molphenix index add third.smi" in said
    assert "is no index yet" in run("add", library, f"--out={tmp_path / 'none'}", status=1)
    assert "name the library to add" in run("add", f"--out={out}", status=1)


def test_rejected_rows_are_joined_a_part_at_a_time(model, tmp_path, monkeypatch):
    garbage = [f"?{row:04}" + "x" * 2000 for row in range(800)]
    pd.DataFrame({"smiles": ["CCO", *garbage]}).to_csv(tmp_path / "l.csv", index=False)
    monkeypatch.setattr(building, "CHUNK_ROWS", 40)
    job = building.Building(
        molphenix_jax.load(model), tmp_path / "l.csv", tmp_path / "INDEX", building.Settings((1.0,))
    )
    assert sum(done.rejected for done in job.run()) == 800
    tracemalloc.start()
    _, path = job.close()
    assert path
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lost = pd.read_csv(path)
    assert lost["row"].tolist() == list(range(2, 802))
    assert peak < path.stat().st_size / 2  # all at once take three times as much as the file


def test_two_libraries_at_once(library, model, tmp_path):
    (tmp_path / "more.smi").write_text("CCO ethanol\nCCCCCC hexane\n")
    given = ("--concentrations=1", f"--model={model}", f"--out={tmp_path / 'INDEX'}")
    run(library, tmp_path / "more.smi", *given)
    assert len(open_index(tmp_path / "INDEX")) == 9


@pytest.mark.parametrize("name", ["l.smi", "l.smi.gz", "l.parquet", "l.sdf"])
def test_other_files(model, tmp_path, name):
    path = tmp_path / name
    if name == "l.parquet":
        pd.DataFrame({"smiles": SMILES}).to_parquet(path, row_group_size=3)
    elif name == "l.sdf":
        from rdkit import Chem

        with Chem.SDWriter(str(path)) as writer:
            for number, one in enumerate(SMILES):
                mol = Chem.MolFromSmiles(one)
                mol.SetProp("_Name", f"m{number}")
                writer.write(mol)
    else:
        text = "".join(f"{one} m{number}\n" for number, one in enumerate(SMILES)).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    make(path, model, tmp_path / "INDEX")
    index = open_index(tmp_path / "INDEX")
    ids = [str(i + 1) if name == "l.parquet" else f"m{i}" for i in range(8)]
    assert index.molecules["id"].tolist() == ids
    assert index.molecules["inchikey"].nunique() == 8


def test_conditions_and_embeddings(model, tmp_path):
    pd.DataFrame({"smiles": SMILES}).to_csv(tmp_path / "l.csv", index=False)
    mine = np.arange(35, dtype=float).reshape(7, 5)
    mine[2, 1] = np.nan
    table = pd.DataFrame({"smiles": SMILES[:7], **{f"x{i}": mine[:, i] for i in range(5)}})
    table.to_parquet(tmp_path / "mine.parquet")
    told = (f"--embeddings=mine={tmp_path / 'mine.parquet'}", "--conditions=time_h=24")
    make(tmp_path / "l.csv", model.parent / "told", tmp_path / "INDEX", *told)
    index = open_index(tmp_path / "INDEX")
    assert index.about["conditions"] == {"time_h": "24"}
    kept = [0, 1, 3, 4, 5, 6]
    assert index.molecules["row"].tolist() == [i + 1 for i in kept]
    reasons = index.rejected["reason"].tolist()
    assert "an embedding that is not finite mine in" in reasons[0]
    assert "no embedding mine in" in reasons[1]
    ours = molphenix_jax.load(model.parent / "told")
    z = ours.embed_molecules(
        [SMILES[i] for i in kept],
        concentration_um=10.0,
        conditions={"time_h": 24},
        embeddings={"mine": mine[kept]},
    )
    np.testing.assert_allclose(index.embeddings(np.arange(6))[:, 1], z, atol=1e-6)
    for left_out, message in (
        (told[:1], "has to be told time_h"),
        (told[1:], "as --embeddings mine=FILE"),
    ):
        said = make(tmp_path / "l.csv", model.parent / "told", tmp_path / "x", *left_out, status=1)
        assert message in said
    table.drop(columns="x0").to_parquet(tmp_path / "mine.parquet")
    said = make(tmp_path / "l.csv", model.parent / "told", tmp_path / "x", *told, status=1)
    assert "embeddings mine of 4 numbers; the model was trained with 5" in said
    with pytest.raises(folder.LibraryError, match="embedded by .*told .*, not by .*plain"):
        index.need_model(molphenix_jax.load(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concentrations=ten"], "--concentrations=ten: 'ten' is no number above 0"),
        (["--concentrations=1,-2"], "'-2' is no number above 0"),
        (["--concentrations=1,inf"], "'inf' is no number"),
        (["--concentrations=1,,2"], "'' is no number"),
        (["--concentrations=1,1.0"], "one of them is there twice"),
        (["--shard=0/4"], "--shard=0/4: give i/n"),
        (["--shard=5/4"], "--shard=5/4: give i/n"),
        (["--conditions=24"], "--conditions=24: give NAME=VALUE, as time_h=24"),
        (["--conditions=time_h=24"], "time_h is none that the model takes"),
        (["--embeddings=x=y"], "takes no block 'x' from outside"),
        (["--smiles-column=smi"], "no column 'smi' for SMILES"),
        (["--id-column=name"], "no column 'name' for names"),
        (["--model=gone"], "gone is no folder"),
        (["--fold=1"], "is one model: leave fold=1 out"),
    ],
)
def test_wrong_options(library, model, tmp_path, options, message):
    assert message in make(library, model, tmp_path / "INDEX", *options, status=1)
    assert not (tmp_path / "INDEX").exists()


def test_files_that_cannot_be_an_index(library, model, tmp_path):
    out = tmp_path / "INDEX"
    (tmp_path / "empty.csv").write_text("smiles\n")
    assert "columns but no rows" in make(tmp_path / "empty.csv", model, out, status=1)
    (tmp_path / "empty.smi").write_text("# nothing\n")
    assert "holds no molecule" in make(tmp_path / "empty.smi", model, out, status=1)
    assert not out.exists()
    (tmp_path / "garbage.csv").write_text("smiles\nx\ny\n")
    said = make(tmp_path / "garbage.csv", model, out, status=1)
    assert "no molecule of" in said
    assert "the first is row 1" in said
    assert [path.name for path in out.iterdir()] == ["rejected.csv"]
    make(library, model, out)
    assert "another index: model is" in make(
        library,
        model.parent / "told",
        out,
        *("--conditions=time_h=24", f"--embeddings=mine={library}"),
        status=1,
    )
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").touch()
    assert "other files (thesis.txt)" in make(library, model, tmp_path / "work", status=1)
    assert "is a file" in make(library, model, tmp_path / "garbage.csv", status=1)
    assert "--out" in make(library, model, model, status=1)


def test_a_full_disk_is_said_before(library, model, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: usage)
    assert "has 100 bytes left: free some space" in make(
        library, model, tmp_path / "INDEX", status=1
    )


def test_a_dose_that_was_not_trained_is_said(library, tmp_path):
    ours = alignment(conditions=Conditions(), blocks=("maccs",))
    dose = ConcentrationEncoding.fit(np.array([0.1, 1.0, 10.0]), kind="onehot")
    side = dataclasses.replace(ours.molecular, dose=dose)
    params = init(side.model, jnp.zeros((2, 4)), jnp.zeros((2, side.width)))
    ours = dataclasses.replace(ours, molecular=side, params=params)
    write_alignment(tmp_path / "model", ours, config={"task": "align"})
    given = ("--concentrations=1,5", f"--model={tmp_path / 'model'}", f"--out={tmp_path / 'I'}")
    said = run(library, *given)
    assert "was not trained at 5 µM: they count as the nearest of 0.1, 1, 10 µM" in said
