import json

import pytest

from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.tasks.align.config import default_config
from molphenix_jax.tasks.stored import (
    changes,
    changes_of_training,
    claim_workdir,
    placed_config,
    stored_config,
)


def test_a_workdir_of_another_config_is_refused_with_the_difference(tmp_path):
    config = default_config()
    claim_workdir(tmp_path / "run", config)
    claim_workdir(tmp_path / "run", config)
    config.train.learning_rate = 0.5
    with pytest.raises(ConfigError, match=r"train\.learning_rate: 0\.003 → 0\.5"):
        claim_workdir(tmp_path / "run", config)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["train"]["learning_rate"] == 3e-3


def test_what_a_config_makes_no_use_of_is_no_change():
    old, new = default_config(wells="w.csv"), default_config(wells="w.csv")
    new.data.simulated.n_molecules = 7
    new.model.encoder.width = 8
    new.loss.options.cloome.beta = 1.0
    assert changes(old, new) == []
    for config in (old, new):
        config.data.wells, config.molecules.encoder, config.loss.name = "", "mpnn", "cloome"
    assert len(changes(old, new)) == 3


def test_an_evaluation_may_differ_in_what_makes_no_other_model():
    old, new = default_config(wells="w.csv"), default_config(wells="/elsewhere/w.csv")
    new.eval.psi = (0.5,)
    new.train.devices = 2
    new.data.placement = "stream"
    assert changes_of_training(old, new) == []
    new.model.dim += 1
    assert changes_of_training(old, new) == ["model.dim: 64 → 65"]


def test_paths_of_a_run_hold_from_any_folder(tmp_path, monkeypatch):
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    (there / "w.csv").touch()
    (here / "moved.csv").touch()
    monkeypatch.chdir(there)
    config = default_config(wells="w.csv")
    config.data.cache = "cache"
    config.molecules.embeddings = "a=a.parquet, b=/b.parquet"
    config.eval.unseen_screens = "x.csv,moved.csv"
    claim_workdir(tmp_path / "run", config)
    monkeypatch.chdir(here)
    found = placed_config(tmp_path / "run")
    assert found.data.wells == str(there / "w.csv")
    assert found.data.cache == str(there / "cache")
    assert found.molecules.embeddings == f"a={there / 'a.parquet'},b=/b.parquet"
    # Where it is not there but here, it moved; where it is nowhere, its first place is named.
    assert found.eval.unseen_screens == f"{there / 'x.csv'},{here / 'moved.csv'}"
    assert found.molecules.pretrained == ""
    # What is stored stays as it was given; the same file under its whole name is no other config.
    assert stored_config(tmp_path / "run").data.wells == "w.csv"
    claim_workdir(tmp_path / "run", found)
