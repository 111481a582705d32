"""CSV files as people have them: read as they are where that is plain, else a sentence."""

import codecs
import csv
import gzip
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.table import read_wells

MOLECULES = ("CCO", "C#N", "c1ccccc1", "CC(=O)O")


def small() -> pd.DataFrame:
    """Two plates of 8 treated wells and 4 controls, and three features."""
    rng = np.random.default_rng(0)
    rows = []
    for plate in ("P1", "P2"):
        for i in range(12):
            control = i >= 8
            rows.append(
                {
                    "plate": plate,
                    "well": f"A{i + 1:02d}",
                    "smiles": "" if control else MOLECULES[i % 4],
                    "concentration_um": 0.0 if control else (1.0, 2.5)[i // 4],
                    "is_control": control,
                }
            )
    features = np.round(rng.normal(size=(len(rows), 3)), 3)
    return pd.DataFrame(rows).assign(**{f"Cells_f{j}": features[:, j] for j in range(3)})


TABLE = small()
PLAIN = TABLE.to_csv(index=False)
SEMICOLONS = TABLE.to_csv(index=False, sep=";", decimal=",")
HEADER, *ROWS = PLAIN.splitlines()


def lines(*parts: str) -> bytes:
    return "\n".join([*parts, ""]).encode()


def quoted_rows() -> bytes:
    named = TABLE.set_axis([f"w{i}" for i in range(len(TABLE))], axis=0)
    text = named.to_csv(quoting=csv.QUOTE_NONNUMERIC)
    return text.removeprefix('"",').encode()


READ = {
    "sep line": (b"sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n").encode(), "passed over: sep=;"),
    "quoted sep line": (b'"sep=;"\n' + SEMICOLONS.encode(), "passed over"),
    "mark and sep line": (codecs.BOM_UTF8 + b"sep=;\n" + SEMICOLONS.encode(), "passed over"),
    "comments": (b"# by me, on Monday\n#again\n\n" + PLAIN.encode(), "# by me, on Monday, #again"),
    "header with #": (b"#" + PLAIN.encode(), ""),
    "blank lines": (b"\n\n" + PLAIN.encode(), ""),
    "bars": (TABLE.to_csv(index=False, sep="|").encode(), "parted by bars"),
    "blanks": (TABLE.to_csv(index=False, sep=" ").encode(), "parted by blanks"),
    "tabs": (TABLE.to_csv(index=False, sep="\t").encode(), ""),
    "row numbers of R": (lines(HEADER, *(f"{i},{r}" for i, r in enumerate(ROWS, 1))), "row names"),
    "row names of R": (quoted_rows(), "row names"),
    "UTF-8 with mark": (codecs.BOM_UTF8 + PLAIN.encode(), ""),
    "UTF-16": (PLAIN.encode("utf-16"), "read as UTF-16"),
    "UTF-16 without mark": (PLAIN.encode("utf-16-le"), "read as UTF-16"),
    "Latin-1": (PLAIN.replace("_um", "_µM").encode("latin-1"), "line 1 is not UTF-8"),
    "gzip without suffix": (gzip.compress(PLAIN.encode()), ""),
    "old line ends": (PLAIN.replace("\n", "\r").encode(), ""),
    "trailing commas": (lines(HEADER, *(f"{row}," for row in ROWS)), ""),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_plain_is_read_and_said(tmp_path, case):
    content, note = READ[case]
    path = tmp_path / "wells.csv"
    path.write_bytes(content)
    wells = read_wells(path, check_smiles=None)
    expected = TABLE.assign(smiles=TABLE["smiles"].fillna(""))
    found = wells.table[list(expected.columns[:5])]
    pd.testing.assert_frame_equal(found, expected[found.columns], check_dtype=False)
    np.testing.assert_allclose(wells.embedding, TABLE.filter(like="Cells_"), rtol=1e-6)
    assert not len(wells.rejected)
    assert any(note in said for said in wells.notes)


def test_a_stray_letter_far_below_keeps_the_other_letters(tmp_path):
    path = tmp_path / "wells.csv"
    text = PLAIN.replace("P1", "Plaß")
    path.write_bytes(text.encode() + b"\xb5-plate," + ROWS[0].removeprefix("P1,").encode())
    wells = read_wells(path, check_smiles=None)
    assert set(wells.table["plate"]) == {"Plaß", "P2", "µ-plate"}
    assert any(f"line {len(ROWS) + 2} is not UTF-8" in note for note in wells.notes)


REFUSED = {
    "decimal commas between commas": (
        lines(HEADER, *(re.sub(r",(1|2)\.(\d),", r",\1,\2,", row) for row in ROWS)),
        r"line 2 has (9|more) fields.*header in line 1 has 8.*decimal commas",
    ),
    # Two whole numbers side by side may be one with a decimal comma, or a row name and a plate.
    "row numbers and numbers": (
        lines("plate,smiles,Cells_f1", *(f"{i},1,5,CCO" for i in range(1, 9))),
        "line 2 has 4 fields.*header in line 1 has 3",
    ),
    "a long row": (lines(HEADER, *ROWS[:3], f"{ROWS[3]},9"), r"line 5 has 9 fields.*has 8"),
    "a title": (lines("My plate", "", HEADER, *ROWS), r"line 3 has 8 fields.*above the header"),
    "a quote without end": (PLAIN.replace("P1,A03", '"P1,A03').encode(), "line 4: a quotation"),
    "a quote that swallows rows": (
        PLAIN.replace("P1,A03", '"P1,A03').replace("P1,A06", 'P1",A06').encode(),
        r"column 'plate', at 'P1,A03.*closed rows later",
    ),
    "NUL": (PLAIN.replace("A03", "A\0003").encode(), "line 4 holds a NUL byte"),
    "a name twice": (PLAIN.replace("Cells_f2", "Cells_f1").encode(), "Cells_f1.*columns 7 and 8"),
    "comments only": (b"# nothing\n\n", "no header"),
    "gzip cut short": (gzip.compress(PLAIN.encode())[:-20], "cut short or damaged"),
    "gzip damaged": (
        gzip.compress(PLAIN.encode())[:60] + b"x" * 50 + gzip.compress(PLAIN.encode())[110:],
        "cut short or damaged",
    ),
    "gzip twice": (gzip.compress(gzip.compress(PLAIN.encode())), "another gzip file"),
    "a workbook": (b"PK\3\4" + bytes(50), "Excel workbook"),
    "a web page": (b"\n<!DOCTYPE html><p>Not found", "web page"),
    "JSON": (b'[{"plate": 1}]', "JSON"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "git lfs pull"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_ends_in_one_sentence_with_the_line(tmp_path, case):
    content, sentence = REFUSED[case]
    path = tmp_path / "wells.csv"
    path.write_bytes(content)
    with pytest.raises(WellsError, match=rf"^.*wells\.csv: .*{sentence}") as said:
        read_wells(path, check_smiles=None)
    assert "\n" not in str(said.value)


def test_archives_that_explode_are_refused_early(tmp_path):
    path = tmp_path / "wells.csv.gz"
    row = f"{HEADER}\n" + "1" * (1 << 20) + "\n"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(70):
            file.write(row.encode())
    with pytest.raises(WellsError, match="unpacks to more than 500 times its size"):
        read_wells(path, check_smiles=None)


LISTS = {
    "abbreviated": ("[ 0.1 0.2 ...  0.3]", r"abbreviated by '\.\.\.'.*Parquet"),
    "abbreviated with commas": ("[0.1, ..., 0.3]", r"abbreviated by '\.\.\.'"),
    "empty": ("[]", r"holds no list of numbers \('\[\]' first\)"),
    "words": ("see file", "holds no list of numbers"),
    "tensors": ("tensor([0.1, 0.2])", "holds no list of numbers"),
    "lists of lists": ([[0.1, 0.2]], "holds no list of numbers"),
    "missing": (None, "it is empty"),
    "structures": ({"a": 0.1}, "holds no list of numbers"),
    "bytes": (b"\xff\x00", "holds no list of numbers"),
}


@pytest.mark.parametrize("case", LISTS)
def test_columns_of_lists_without_numbers(tmp_path, case):
    cell, sentence = LISTS[case]
    path = tmp_path / "wells.parquet"
    plain = TABLE.drop(columns=["Cells_f0", "Cells_f1", "Cells_f2"])
    plain.assign(embedding=[cell] * len(plain)).to_parquet(path)
    with pytest.raises(WellsError, match=rf"wells\.parquet: .*'embedding'.*{sentence}"):
        read_wells(path, check_smiles=None)


@pytest.mark.parametrize("column", ["smiles", "plate", "concentration_um", "is_control", "batch"])
def test_lists_where_words_are_needed(tmp_path, column):
    path = tmp_path / "wells.parquet"
    TABLE.assign(**{column: [["x"]] * len(TABLE)}).to_parquet(path)
    with pytest.raises(WellsError, match=f"column '{column}' holds list<"):
        read_wells(path, check_smiles=None)


def test_parquet_with_a_name_twice(tmp_path):
    path = tmp_path / "wells.parquet"
    table = pa.Table.from_pandas(TABLE)
    names = ["plate" if name == "Cells_f1" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    with pytest.raises(WellsError, match="several columns 'plate'"):
        read_wells(path, check_smiles=None)


def test_damaged_parquet_names_no_library(tmp_path):
    path = tmp_path / "wells.parquet"
    TABLE.to_parquet(path)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:300], whole[:100] + bytes(300) + whole[400:]):
        path.write_bytes(content)
        with pytest.raises(WellsError, match=r"damaged Parquet file: copy it again"):
            read_wells(path, check_smiles=None)
