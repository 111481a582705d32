"""Tables for people: no cell runs in a spreadsheet, and all come back as they were."""

import csv
import re

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.storage import read_csv, write_csv

CELLS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\tx", "\r=1", "'=x", "''+x", "'x", "=O"]
CELLS += ["\n=1", "\uff1d1+1", "\uff20SUM(1)"]
CELLS += ["x;=1+1", "x;'=1", "=1;=2;''@3", "a;-1+cmd;-1", "a\n=1", "a;-5\n+3;x", "a;'-5", "x\t+A1"]


def test_text_that_a_spreadsheet_would_run_is_marked_and_comes_back(tmp_path):
    path = tmp_path / "rejected.csv"
    table = pd.DataFrame(
        {"value": CELLS, "row": range(len(CELLS)), "x": np.linspace(-1, 1, len(CELLS))}
    )
    write_csv(path, table)
    with path.open(newline="") as file:
        written = [row["value"] for row in csv.DictReader(file)]
    assert not [cell for cell in written if cell[0] in "=+-@\t\r\n\uff1d\uff20"]
    # Where semicolons part cells, quotes that begin within a cell are none, and neither do they
    # hold a line break.
    cells = re.split(r"[;\t\r\n]", path.read_text())
    run = re.compile(r"[=@\uff1d\uff20]|[+-](?![\d.]+[\",]|[\d.]+$)")
    assert not [cell for cell in cells if run.match(cell)]
    pd.testing.assert_frame_equal(read_csv(path), table)


def test_tables_that_follow_each_other_are_one(tmp_path):
    cells = ["a\rb", "=1", 'c"d']
    tables = (pd.DataFrame({"value": [cell] * 2, "row": [k, -k]}) for k, cell in enumerate(cells))
    write_csv(tmp_path / "t.csv", tables)
    found = read_csv(tmp_path / "t.csv")
    assert found["value"].tolist() == [cell for cell in cells for _ in range(2)]
    assert found["row"].tolist() == [0, 0, 1, -1, 2, -2]


@pytest.mark.parametrize(
    "cell", ["-1.5", "+3", "-1e-4", "-inf", "C=O", "[Na+]", "", "A'=", "1;-2;+3", None]
)
def test_numbers_and_other_text_stay(tmp_path, cell):
    path = tmp_path / "t.csv"
    write_csv(path, pd.DataFrame({"value": [cell], "n": [-1]}))
    assert "'" not in path.read_text().replace("A'=", "")


def test_tables_of_before_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("value\n=1+1\nC=O\n'quoted'\n")
    assert read_csv(path)["value"].tolist() == ["=1+1", "C=O", "'quoted'"]
