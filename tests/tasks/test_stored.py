import json
import math

import pytest

from molphenix_jax import tasks
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.workdir.folder import write_claim
from molphenix_jax.tasks.align.config import default_config
from molphenix_jax.tasks.stored import (
    changes,
    changes_of_training,
    find_run,
    placed_config,
    stored_config,
)


def claim(workdir, config) -> list[str]:
    said: list[str] = []
    find_run(workdir, config).claim(config, say=said.append)
    return said


def test_a_workdir_of_another_config_is_refused_with_the_difference(tmp_path):
    config = default_config()
    claim(tmp_path / "run", config)
    claim(tmp_path / "run", config)
    config.train.learning_rate = 0.5
    with pytest.raises(ConfigError, match=r"train\.learning_rate: 0\.003 → 0\.5"):
        claim(tmp_path / "run", config)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["train"]["learning_rate"] == 3e-3


@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_a_run_whose_config_was_changed_is_refused(tmp_path, name):
    config = default_config()
    claim(tmp_path, config)
    path = tmp_path / name
    text = path.read_text()
    changed = {"config.json": ('"seed": 0', '"seed": 1'), "run.json": ('"cwd": "/', '"cwd": "/x')}
    path.write_text(text.replace(*changed[name]))
    with pytest.raises(ConfigError, match=rf"{name} was changed since the run began"):
        placed_config(tmp_path)
    path.write_text(json.dumps(json.loads(text), indent=7))
    assert placed_config(tmp_path).seed == 0


def test_a_run_that_is_killed_while_it_is_claimed_anew_is_still_one(tmp_path):
    config = default_config()
    claim(tmp_path, config)
    before = (tmp_path / "config.json").read_text()
    config.train.steps = 600
    claim(tmp_path, config)
    assert stored_config(tmp_path).train.steps == 600
    (tmp_path / "config.json").write_text(before)  # only the header was written
    assert stored_config(tmp_path).train.steps == 300
    claim(tmp_path, config)
    assert stored_config(tmp_path).train.steps == 600


def test_more_updates_continue_a_run_and_fewer_are_refused(tmp_path):
    workdir, config = tmp_path / "run", default_config()
    assert claim(workdir, config) == []
    assert not find_run(workdir, config).finished
    (workdir / "report").mkdir()
    (workdir / "report" / "index.html").touch()
    (workdir / "evaluation.json").write_text("{}")
    assert find_run(workdir, config).finished
    config.train.steps = 600
    begun = find_run(workdir, config)
    assert not begun.finished
    assert stored_config(workdir).train.steps == 300, "looking is not claiming"
    said = claim(workdir, config)
    assert said[0] == f"continuing to 600 updates, the run in {workdir} had 300"
    # By hand: the warm-up takes 30 updates; after 300 of 600 the cosine is at 270/570.
    rate = 3e-3 * (1 + math.cos(math.pi * 270 / 570)) / 2
    assert f"train.schedule=cosine over 600 updates from here on: {rate:.3g} after" in said[2]
    assert "had come to 0;" in said[2]
    aside = workdir / "evaluations" / "after-300"
    assert (aside / "evaluation.json").exists()
    assert (aside / "report" / "index.html").exists()
    assert not (workdir / "evaluation.json").exists()
    assert stored_config(workdir).train.steps == 600
    assert claim(workdir, config) == []
    config.train.steps = 300
    with pytest.raises(
        ConfigError, match=r"600 updates to do, and train\.steps=300 asks for fewer"
    ):
        find_run(workdir, config)
    config.train.steps, config.seed = 900, 1
    with pytest.raises(ConfigError, match=r"seed: 0 → 1\n  train\.steps: 600 → 900"):
        find_run(workdir, config)


def test_a_table_that_was_put_aside_before_stays(tmp_path):
    workdir, config = tmp_path / "run", default_config()
    claim(workdir, config)
    old = workdir / "evaluations" / "after-300"
    old.mkdir(parents=True)
    for folder, text in ((old, '{"old": 1}'), (workdir, '{"new": 1}')):
        (folder / "evaluation.json").write_text(text)
    config.train.steps, config.train.schedule = 600, "constant"
    with pytest.raises(ConfigError, match=r"train\.schedule"):
        claim(workdir, config)
    config.train.schedule = "cosine"
    claim(workdir, config)
    assert (old / "evaluation.json").read_text() == '{"old": 1}'
    assert (workdir / "evaluations/after-300-2/evaluation.json").read_text() == '{"new": 1}'


@pytest.mark.parametrize(
    "content", [b"", b'{"task": "al', b"\xff\x00", b"[]", b"null", b"[" * 9000]
)
@pytest.mark.parametrize("name", ["config.json", "run.json", "evaluation.json"])
def test_a_damaged_file_of_a_run_is_a_sentence_with_its_remedy(tmp_path, name, content):
    workdir, config = tmp_path / "run", default_config()
    claim(workdir, config)
    (workdir / "evaluation.json").write_text("{}")
    (workdir / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} is damaged, it .*; (restore|delete)") as said:
        find_run(workdir, config)
    assert "\n" not in str(said.value)
    assert not any(word in str(said.value) for word in ("char", "codec", "Expecting"))


@pytest.mark.parametrize("header", [{"format": "x"}, {"format": 1, "cwd": 3}])
def test_a_header_of_other_values_is_damaged(tmp_path, header):
    workdir, config = tmp_path / "run", default_config()
    claim(workdir, config)
    (workdir / "run.json").write_text(json.dumps(header))
    with pytest.raises(ConfigError, match=r"run\.json (is damaged; delete that file|was changed)"):
        find_run(workdir, config)


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
    claim(tmp_path / "run", config)
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
    claim(tmp_path / "run", found)


@pytest.mark.parametrize(
    "task", ["align", "align_images", "mae_pretraining", "property_pretraining"]
)
def test_a_run_of_one_seed_keeps_its_split(task, tmp_path):
    """Runs of before had one seed for the split too; a new one has two."""
    config = tasks.spec_of(task).default_config()
    config.seed = 3
    assert config.data.split_seed == 0
    write_claim(tmp_path / "new", config)
    assert stored_config(tmp_path / "new").data.split_seed == 0
    del config.data.split_seed
    write_claim(tmp_path / "old", config)
    assert stored_config(tmp_path / "old").data.split_seed == 3


def test_a_list_of_files_is_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "began").mkdir()
    for name in ("a.csv", "b.csv", "x,y.csv"):
        (tmp_path / "began" / name).touch()
    for number, (wells, found) in enumerate(
        [("a.csv,b.csv", ["a.csv", "b.csv"]), ("x,y.csv", ["x,y.csv"])]
    ):
        monkeypatch.chdir(tmp_path / "began")
        write_claim(tmp_path / f"run{number}", default_config(wells=wells))
        monkeypatch.chdir(tmp_path)
        placed = placed_config(tmp_path / f"run{number}").data.wells
        assert placed == ",".join(str(tmp_path / "began" / name) for name in found)
