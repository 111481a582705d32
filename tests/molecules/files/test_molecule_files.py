"""Files of molecules as people have them: every row comes back, good or with a reason."""

import codecs
import gzip
import pathlib
import tracemalloc

import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.files import open_molecules, read_molecules
from molphenix_jax.molecules.files.sdf import MAX_RECORD

DRAWN = ["CCO", "C[C@H](N)C(=O)O", "c1ccc(cc1)C(=O)[O-].[Na+]", "F/C=C/F", "[2H]C([2H])([2H])O"]


def block(smiles: str, title: str = "", *, v3000: bool = False) -> str:
    mol = Chem.MolFromSmiles(smiles)
    AllChem.Compute2DCoords(mol)
    mol.SetProp("_Name", title)
    return Chem.MolToMolBlock(mol, forceV3000=v3000)


def record(smiles: str, title: str = "", **properties: str) -> str:
    fields = "".join(f">  <{name}>\n{value}\n\n" for name, value in properties.items())
    return f"{block(smiles, title)}{fields}$$$$\n"


def write(path: pathlib.Path, content: str | bytes) -> pathlib.Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def same_molecules(smiles: list[str], wanted: list[str]) -> None:
    assert standardise(smiles)["inchikey"].tolist() == standardise(wanted)["inchikey"].tolist()


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz", "a.SDF", "a.csv", "no_suffix"])
def test_records_of_an_sdf(tmp_path, name):
    text = "".join(
        record(s, f"m{i}", ID=f"{i:03d}", note="two\nlines") for i, s in enumerate(DRAWN)
    )
    file, read = read_molecules(write(tmp_path / name, text))
    assert (file.kind, file.field) == ("sdf", "record")
    assert read.row == [1, 2, 3, 4, 5]
    same_molecules(read.smiles, DRAWN)
    assert read.others["ID"].tolist() == ["000", "001", "002", "003", "004"]
    assert read.others["name"].tolist() == [f"m{i}" for i in range(5)]
    assert set(read.others["note"]) == {"two lines"}
    assert set(read.reason) == {""}


def test_a_damaged_record_is_one_row_with_its_number(tmp_path):
    good = record("CCO")
    torn = "\n".join(good.splitlines()[:5]) + "\n$$$$\n"
    counts = good.replace("  3  2  0", " 3x  2  0", 1)
    five = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    valence = Chem.MolToMolBlock(five, kekulize=False) + "$$$$\n"
    long = f"{block('CCO')}> <x>\n{'y' * MAX_RECORD}\n\n$$$$\n"
    huge = "big\n\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n"
    huge += "M  V30 COUNTS 20000 19999 0 0 0\nM  END\n$$$$\n"
    empty = "\n\n\n  0  0  0  0  0  0            999 V2000\nM  END\n$$$$\n"
    last = block("CCN")  # without $$$$
    _, read = read_molecules(
        write(
            tmp_path / "a.sdf", good + torn + counts + valence + long + huge + empty + good + last
        )
    )
    assert read.row == list(range(1, 10))
    assert [bool(reason) for reason in read.reason] == [0, 1, 1, 1, 1, 1, 1, 0, 0]
    same_molecules([s for s in read.smiles if s], ["CCO", "CCO", "CCN"])
    said = ["no line 'M  END'", "cannot be read", "not a valid molecule: ", "characters, more than"]
    for reason, words in zip(read.reason[1:], [*said, "20,000 atoms", "no atoms"], strict=False):
        assert words in reason
    assert not any("\n" in reason for reason in read.reason)
    assert read.why([None] * 9)[0] is None
    assert read.why(["x"] * 9)[:2] == ["x", read.reason[1]]


def test_v3000_and_windows_line_ends(tmp_path):
    text = (block("C[C@H](N)C(=O)O", v3000=True) + "$$$$\n").replace("\n", "\r\n")
    _, read = read_molecules(write(tmp_path / "a.sdf", text))
    same_molecules(read.smiles, ["C[C@H](N)C(=O)O"])


SMI = {
    "blank": "CCO ethanol\nCCN\n",
    "tab": "CCO\tethanol\r\nCCN\r\n",
    "mark": codecs.BOM_UTF8.decode() + "CCO ethanol\nCCN",
    "blank lines": "CCO  ethanol  \nCCN\n\n\n",
    "old line ends": "CCO ethanol\rCCN\r",
}


@pytest.mark.parametrize("case", SMI)
@pytest.mark.parametrize("name", ["a.smi", "a.smi.gz", "a.ism"])
def test_lines_of_a_smi(tmp_path, case, name):
    file, read = read_molecules(write(tmp_path / name, SMI[case]))
    assert (file.kind, file.field) == ("smi", "line")
    assert (read.row, read.smiles) == ([1, 2], ["CCO", "CCN"])
    assert read.others["name"].tolist() == ["ethanol", ""]
    assert not file.notes


def test_a_smi_with_header_comments_names_of_words_and_extensions(tmp_path):
    text = "# mine\nsmiles zinc_id\nCCO |(0,0,;1,0,;2,0,)| drug of 1\n\n[Na+].[Cl-]\tsalt\nC1CC x\n"
    file, read = read_molecules(write(tmp_path / "a.smi", text))
    assert read.row == [3, 5, 6]
    assert read.smiles[1:] == ["[Na+].[Cl-]", "C1CC"]
    assert read.others["zinc_id"].tolist() == ["drug of 1", "salt", "x"]
    assert any("taken as a header: smiles zinc_id" in note for note in file.notes)
    errors = standardise(read.smiles)["error"]
    assert errors[0] is None
    assert "not a valid SMILES" in errors[2]


def test_a_name_that_is_latin_1_is_read_and_said(tmp_path):
    file, read = read_molecules(write(tmp_path / "a.smi", "CCO Äther\n".encode("latin-1")))
    assert read.others["name"].tolist() == ["Äther"]
    assert any("line 1 is not UTF-8" in note for note in file.notes)


TABLE = pd.DataFrame(
    {"id": ["007", "8"], "Canonical SMILES": ["CCO", ""], "logP": ["1,5", "2,5"], "x_smiles": "C"}
)
TABLES = {
    "sep line": ("a.csv", b"sep=;\n" + TABLE.to_csv(index=False, sep=";").encode()),
    "comments": ("a.csv", b"# mine\n" + TABLE.to_csv(index=False).encode()),
    "mark": ("a.csv", codecs.BOM_UTF8 + TABLE.to_csv(index=False).encode()),
    "tabs": ("a.tsv", TABLE.to_csv(index=False, sep="\t").encode()),
    "UTF-16": ("a.txt", TABLE.to_csv(index=False).encode("utf-16")),
    "gzip": ("a.gz", TABLE.to_csv(index=False).encode()),
}


@pytest.mark.parametrize("case", [*TABLES, "parquet", "dictionaries"])
def test_tables_keep_their_cells(tmp_path, case):
    if case in TABLES:
        path = write(tmp_path / TABLES[case][0], TABLES[case][1])
    else:
        path = tmp_path / "a.parquet"
        frame = TABLE.astype("category") if case == "dictionaries" else TABLE
        frame.assign(embedding=[[1.0], [2.0]]).to_parquet(path)
    file, read = read_molecules(path)
    assert (file.kind, file.field) == ("table", "Canonical SMILES")
    assert (read.row, read.smiles) == ([1, 2], ["CCO", ""])
    assert read.others["id"].tolist() == ["007", "8"]
    assert read.others["logP"].tolist() == ["1,5", "2,5"]
    assert any("SMILES are those of 'Canonical SMILES'; 'x_smiles' could" in n for n in file.notes)
    assert open_molecules(path, smiles_column="x_smiles").field == "x_smiles"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "CCO\nCCN\n", r"no column of SMILES among CCO.*is called \.smi"),
        ("a.smi", "", "the file is empty"),
        ("a.smi", "# nothing\n\n", "holds no molecule"),
        ("a.sdf", "\n\n", "holds no molecule"),
        ("a.smi.gz", "", "holds nothing"),
        ("a.smi", b"PK\3\4" + bytes(20), "workbook"),
        ("a.sdf", "CCO\n\0\n", "line 2 holds a NUL byte"),
        ("a.npz", b"PK\3\4" + bytes(20), "damaged npz"),
    ],
)
def test_what_holds_no_molecules_is_a_sentence(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as said:
        read_molecules(write(tmp_path / name, content))
    assert name in str(said.value)
    assert "\n" not in str(said.value)


def test_a_missing_file_and_column(tmp_path):
    for name in ("a.smi", "a.sdf", "a.csv"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read"):
            read_molecules(tmp_path / name)
    path = write(tmp_path / "a.csv", "smiles,x\nCCO,1\n")
    with pytest.raises(InputError, match=r"no column 'smile' for SMILES \(nearest: smiles\)"):
        open_molecules(path, smiles_column="smile")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.csv.gz", "a.parquet", "a.sdf"])
def test_chunks_are_bounded_and_number_on(tmp_path, name):
    n = 50_000 if name != "a.sdf" else 300
    path = tmp_path / name
    frame = pd.DataFrame(
        {"smiles": ["CCO", "bad"] * (n // 2), "id": [f"Z{i:09d}" for i in range(n)]}
    )
    if name == "a.parquet":
        frame.to_parquet(path, row_group_size=7_000)
    elif name == "a.sdf":
        write(path, (record("CCO", "x") + "$$$$\n") * (n // 2))
    else:
        write(path, frame.to_csv(index=False, header=name != "a.smi", sep=",\t"[name == "a.smi"]))
    size = 1_000 if name != "a.sdf" else 64
    rows: list[int] = []
    tracemalloc.start()
    for chunk in open_molecules(path).chunks(size):
        assert 0 < len(chunk.row) <= size
        assert len(chunk.row) == len(chunk.smiles) == len(chunk.reason) == len(chunk.others)
        if name != "a.sdf":
            assert chunk.others.iloc[0, 0] == f"Z{chunk.row[0] - 1:09d}"
        rows += chunk.row
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == list(range(1, n + 1))
    assert peak < 20e6


@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.parquet", "a.sdf"])
def test_a_range_of_rows_in_full_chunks(tmp_path, name):
    path, n = tmp_path / name, 25
    frame = pd.DataFrame({"smiles": ["C" * i for i in range(1, n + 1)]})
    if name == "a.parquet":
        frame.to_parquet(path, row_group_size=4)
    elif name == "a.sdf":
        write(path, "".join(record(smiles, "x") for smiles in frame["smiles"]))
    else:
        write(path, frame.to_csv(index=False, header=name != "a.smi"))
    file = open_molecules(path)
    assert file.count() == n
    for start, stop in ((0, None), (0, 7), (6, 19), (10, 10), (20, 99), (30, None)):
        chunks = list(file.chunks(6, start=start, stop=stop))
        rows = list(range(1, n + 1))[start:stop]
        assert [row for chunk in chunks for row in chunk.row] == rows
        assert [len(s) for chunk in chunks for s in chunk.smiles] == rows
        assert all(len(chunk.row) == 6 for chunk in chunks[:-1])
