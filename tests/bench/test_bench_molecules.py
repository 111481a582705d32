"""The benchmark of molecules, with libraries that are not there and with a stand-in that is."""

import json
import sys

import pytest

from molphenix_jax.bench import measure, molecules
from molphenix_jax.bench.compared import molecules_server
from molphenix_jax.cli import main
from molphenix_jax.errors import InputError

SETTING = molecules.MoleculesCase(n_molecules=12, batch_size=4, width=8, depth=1, repeats=1)


def test_molecules_are_usable_and_different():
    chosen = molecules.molecules(50)
    assert len(set(chosen)) == 50


def test_more_molecules_than_there_are_is_told(monkeypatch):
    monkeypatch.setattr(molecules, "shipped_smiles", lambda: ["C", "CC", "CC", "C1CC"])
    with pytest.raises(InputError, match="--molecules=3: 2 molecules"):
        molecules.molecules(3)


@pytest.mark.long
def test_a_library_that_is_not_installed_is_said(tmp_path):
    """A Python that finds no packages; the whole command."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    out = tmp_path / "rows.json"
    sizes = ["--molecules=12", "--batch=4", "--width=8", "--depth=1", "--repeats=1"]
    assert main(["bench", "molecules", *sizes, f"--other-python={bare}", f"--json={out}"]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["other_name"] for row in rows} == set(molecules.OTHERS)
    assert len(rows) == 6
    for row in rows:
        assert row["ours"] > 0
        assert row["other"] is None
        assert "was not measured: No module named" in row["note"]


STAND_IN = """
import json, sys
setting = json.loads(sys.stdin.readline())
assert len(setting["smiles"]) == 12 and setting["batch_size"] == 4 and setting["width"] == 8
answer = {"name": "stand-in " + sys.argv[1], "parameters": 7, "work": ["featurise", "train"]}
print(json.dumps(answer), flush=True)
for line in sys.stdin:
    assert line.strip() in answer["work"]
    print(json.dumps("done"), flush=True)
"""


@pytest.mark.long
def test_rows_compare_the_same_molecules(tmp_path, monkeypatch):
    program = tmp_path / "server.py"
    program.write_text(STAND_IN)
    monkeypatch.setattr(molecules_server, "__file__", str(program))
    # On a clock of our own, that shows 12 ms more at each look: so long our work takes.
    now, ask = [0.0], molecules._Server.ask

    def timed(server, line):
        now[0] += {"featurise": 0.108, "train": 0.228}.get(line, 0)
        return ask(server, line)

    def clock():
        now[0] += 0.012
        return now[0]

    monkeypatch.setattr(molecules._Server, "ask", timed)
    monkeypatch.setattr(measure, "clock", clock)
    rows = molecules.run(SETTING)
    assert len(rows) == 6
    for row in rows:
        train = row.case.startswith("training")
        assert row.ours == pytest.approx(1)  # s per 1,000 molecules
        assert row.other == pytest.approx(20 if train else 10)
        assert row.other_name.startswith("stand-in")
        assert row.target == 1.0
        assert ("parameters against 7" in row.note) == train


def test_a_server_that_dies_and_a_python_that_is_missing_are_told(tmp_path, monkeypatch):
    program = tmp_path / "server.py"
    program.write_text("import sys; sys.stdin.readline()")
    monkeypatch.setattr(molecules_server, "__file__", str(program))
    with pytest.raises(InputError, match="stopped in --other-python"):
        molecules.run(SETTING)
    gone = tmp_path / "no_python"
    with pytest.raises(InputError, match="no_python"):
        molecules.run(molecules.MoleculesCase(n_molecules=4, width=8, depth=1, other_python=gone))
