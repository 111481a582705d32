"""The command line itself: help, version, and the short names of `molphenix_jax.main`."""

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

import molphenix_jax
from molphenix_jax import cli
from tests import tiny

pytestmark = pytest.mark.long


def molphenix(cache: pathlib.Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    # A process of its own: absl's flags are those of a process.
    command = [sys.executable, "-m", "molphenix_jax.cli", *arguments]
    return tiny.finish(tiny.start(command, cache, **options))


def test_without_a_command_it_shows_help(capsys):
    assert cli.main([]) == 0
    said = capsys.readouterr().out
    for command in ("train", "evaluate", "prepare", "embed", "bench"):
        assert f"\n    {command} " in said


def test_version(capsys):
    version = importlib.metadata.version("molphenix-jax")
    assert molphenix_jax.__version__ == version
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"molphenix {version}\n"
    with pytest.raises(AttributeError, match="has no attribute '__versions__'"):
        molphenix_jax.__versions__  # noqa: B018


def test_train_and_evaluate_by_name_from_any_folder(cache, tmp_path):
    options = {"cwd": tmp_path, "anew": True}
    fields = [w for w in tiny.command(tmp_path, cache, train__steps=2) if "--config." in w]
    words = ("train", "--config=s2l:size=tiny", "--workdir=run", *fields)
    done = molphenix(cache, *words, **options)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "run" / "evaluation.json").is_file()
    done = molphenix(cache, "evaluate", "--workdir", "run", "--name=again", **options)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "run" / "evaluations" / "again" / "evaluation.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train"], 2, "Flag --workdir must have a value"),
        (["train", "--workdir=run"], 2, "--config is missing, e.g. --config=s2l"),
        (["train", "--workdir=run", "--config=s2p"], 2, "--config=s2p is no config file"),
        (["evaluate", "--workdir=none"], 1, "none/config.json is missing"),
        (["evaluate", "--help"], 0, "--checkpoint"),
    ],
)
def test_mistakes_end_as_in_main(arguments, status, message, cache, tmp_path):
    done = molphenix(cache, *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert message in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout
