"""What is written never takes the place of what is read; files of one name stay apart."""

import pathlib

import pytest

from molphenix_jax.commands.arguments import need_other_output
from molphenix_jax.errors import InputError
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.tasks.align.config import default_config, distinct_names
from molphenix_jax.tasks.stored import need_own_folder
from tests import tiny


@pytest.fixture
def screen(tmp_path) -> pathlib.Path:
    """A folder that looks like a prepared screen."""
    folder = tmp_path / "screens" / "mine"
    folder.mkdir(parents=True)
    for name in ("index.npz", "screen.json"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("inside", [".", "run", "a/b/run"])
def test_a_workdir_in_a_prepared_screen_is_refused(screen, inside):
    with pytest.raises(ConfigError, match=r"--workdir=.* is a prepared screen, or lies in one"):
        need_own_folder(screen / inside, default_config())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.cache", "{}"),
        ("data.wells", "{}"),
        ("eval.unseen_screens", "other.csv,{}"),
        ("molecules.embeddings", "mine={}"),
        ("molecules.pretrained", "{}"),
    ],
)
def test_a_workdir_that_a_field_names_is_refused(tmp_path, field, value):
    config = default_config()
    config.update_from_flattened_dict({field: value.format(tmp_path / "x" / ".." / "run")})
    with pytest.raises(ConfigError, match=rf"--workdir=.* is what {field} names"):
        need_own_folder(tmp_path / "run", config)
    need_own_folder(tmp_path / "another", config)


def test_training_asks_before_any_work(screen, cache):
    with pytest.raises(ConfigError, match="prepared screen"):
        tiny.train_here(tiny.config(cache), screen / "run")
    assert not (screen / "run").exists()


@pytest.mark.parametrize("given", ["wells.csv", "./wells.csv", "a/../wells.csv"])
def test_an_output_that_is_an_input(given):
    with pytest.raises(InputError, match="would take the place of the input"):
        need_other_output(pathlib.Path("wells.csv"), None, "other.csv", given)


def test_an_output_that_holds_an_input_or_has_no_name():
    with pytest.raises(InputError, match="would take the place"):
        need_other_output(pathlib.Path("screens"), "screens/wells.csv")
    with pytest.raises(InputError, match="--out is empty"):
        need_other_output(pathlib.Path(""), "wells.csv")
    need_other_output(pathlib.Path("wells"), "wells.csv")
    need_other_output(None, "wells.csv")


def test_files_of_one_name_are_told_apart_by_their_folders():
    paths = ["a/x/wells.csv", "b/x/wells.csv", "c/other.csv"]
    assert distinct_names(paths, ["wells", "wells", "other"]) == ["a/x/wells", "b/x/wells", "other"]
    assert distinct_names(["a/w.csv", "b/w.csv"], ["w", "w"]) == ["a/w", "b/w"]
    assert distinct_names([], []) == []
