"""Parts from outside through the real commands: the examples of docs/contributing.md."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from molphenix_jax import plugins
from molphenix_jax.losses import LOSSES
from molphenix_jax.runtime.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.documented import parts
from tests.losses.test_registered import HARDEST

FEW = ("--config.train.steps=2", "--config.train.warmup_steps=1", "--config.eval.n_bootstrap=10")


@pytest.fixture
def molphenix(cache, tmp_path):
    """Runs `molphenix` in a folder with the examples; what it said is in `stdout`."""
    parts.write(tmp_path)
    (tmp_path / "hardest.py").write_text(HARDEST)

    def call(*arguments: str, folder: pathlib.Path = tmp_path, status: int = 0, devices: int = 1):
        environment = tiny.environment(cache) | {"MOLPHENIX_CACHE": str(cache / "screens")}
        if devices > 1:
            more = f" --xla_force_host_platform_device_count={devices}"
            environment["XLA_FLAGS"] += more
        done = subprocess.run(
            [sys.executable, "-m", "molphenix_jax.cli", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return " ".join(done.stdout.split())

    return call


@pytest.mark.slow
def test_a_loss_trains_and_is_found_again(molphenix, tmp_path):
    """A loss with a state of its own, as a ring of two devices."""
    started = tmp_path / "project"
    started.mkdir()
    (tmp_path / "hardest.py").rename(started / "hardest.py")
    ring = ("--config.loss.execution=ring", "--config.loss.options.hardest.margin=3.0")
    command = (
        *("train", "--plugin=hardest.py", "--config=s2l:size=tiny", "--workdir=run", *FEW),
        *("--config.loss.name=hardest", *ring),
    )
    said = molphenix(*command, folder=started, devices=2)
    assert "plugin hardest.py: loss hardest" in said
    run = started / "run"
    stored = json.loads((run / "config.json").read_text())
    assert stored["plugins"] == ["hardest.py"]
    assert stored["loss"]["options"]["hardest"] == {"margin": 3.0}
    assert "is finished" in molphenix(*command, folder=started, devices=2)

    # From another folder, where no such file lies.
    evaluate = ("evaluate", f"--workdir={run}")
    said = molphenix(*evaluate, "--name=a")
    assert "loss hardest" in said
    assert (run / "evaluations" / "a" / "evaluation.json").is_file()
    (started / "hardest.py").rename(tmp_path / "moved.py")
    said = molphenix(*evaluate, "--name=b", status=1)
    assert "config.json needs the plugin hardest.py, which is not in" in said
    (tmp_path / "moved.py").rename(tmp_path / "hardest.py")
    assert "loss hardest" in molphenix(*evaluate, "--name=b", "--plugin=./hardest.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx +", ", line 2: SyntaxError: "),
        ("x = 1\ny = z\n", ", line 2: NameError: name 'z' is not defined"),
        (
            "import molphenix_jax\n\nmolphenix_jax.register('loss', 'clip', None)\n",
            ", line 3: loss 'clip' is registered already: take another name (there are clip, ",
        ),
        (
            "import molphenix_jax\nmolphenix_jax.register('loss', 'new', None)\n",
            ", line 2: loss 'new': must be a LossSpec, got None",
        ),
        ("import gone\n", ", line 1: ModuleNotFoundError: No module named 'gone'"),
    ],
)
def test_a_plugin_that_fails_is_a_sentence_and_leaves_nothing(text, message, tmp_path):
    path = tmp_path / "mine.py"
    good = "from molphenix_jax import register\nfrom molphenix_jax.losses import LossSpec\n"
    path.write_text(text)
    before = list(LOSSES)
    for prefix in ("", good + "register('loss', 'half', LossSpec('', print))\n"):
        path.write_text(prefix + text)
        with pytest.raises(plugins.PluginError) as failed:
            plugins.load([str(path)])
        line = message.partition("line ")[2].partition(":")[0]
        moved = message.replace(f"line {line}", f"line {int(line) + prefix.count(chr(10))}")
        assert f"--plugin={path}{moved}" in str(failed.value)
        assert list(LOSSES) == before
        assert not plugins.names()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone.py", "--plugin=gone.py: there is no file "),
        ("gone", "--plugin=gone: there is no module 'gone'"),
        ("package.gone", "--plugin=package.gone: there is no module 'package.gone'"),
        ("package.needs", "package.needs, line 1: ModuleNotFoundError: No module named 'gone'"),
    ],
)
def test_a_plugin_that_is_not_there_is_a_sentence(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "needs.py").write_text("import gone\n")
    with pytest.raises(plugins.PluginError) as failed:
        plugins.load([given])
    assert message in str(failed.value)
    sys.modules.pop("package", None)


def test_plugins_are_files_or_modules_and_load_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "parts_of_mine").mkdir()
    spec = "LossSpec('', lambda: None)"
    imports = "from molphenix_jax import register\nfrom molphenix_jax.losses import LossSpec\n"
    for file, name in (("parts_of_mine/two.py", "two"), ("one.py", "one")):
        (tmp_path / file).write_text(f"{imports}register('loss', '{name}', {spec})\n")
    try:
        said = plugins.load(["one.py,parts_of_mine.two", "./one.py", f"{tmp_path}/one.py"])
        assert said == ["plugin one.py: loss one", "plugin parts_of_mine.two: loss two"]
        assert plugins.names() == ("one.py", "parts_of_mine.two")
        assert {"one", "two"} <= set(LOSSES)
    finally:
        plugins.unload()
    assert not {"one", "two"} & set(LOSSES)


def test_they_are_taken_out_of_a_command_line_wherever_they_stand():
    words = ["--plugin=a.py", "prepare", "--plugin", "b.c,d.py", "f.csv", "--out=D"]
    assert plugins.split(words) == (["a.py", "b.c,d.py"], ["prepare", "f.csv", "--out=D"])
    with pytest.raises(plugins.PluginError, match="names nothing"):
        plugins.split(["prepare", "--plugin"])


@pytest.mark.slow
def test_a_loss_of_any_execution_trains_alike(cache, tmp_path, monkeypatch):
    (tmp_path / "hardest.py").write_text(HARDEST)
    plugins.load([str(tmp_path / "hardest.py")])
    losses = {}
    try:
        for execution in ("dense", "chunked", "ring"):
            changes = {"loss__execution": execution, "train__devices": 2, "train__steps": 3}
            config = tiny.config(cache, loss__name="hardest", train__warmup_steps=1, **changes)
            if execution != "dense":
                config.loss.chunk_size = 7
            tiny.train_here(config, tmp_path / execution)
            lines = read_metrics(tmp_path / execution / METRICS_FILE)
            losses[execution] = [line["loss"] for line in lines if line["kind"] == "train"]
    finally:
        plugins.unload()
    assert len(losses["dense"]) == 3
    assert losses["chunked"] == pytest.approx(losses["dense"], rel=1e-4)
    assert losses["ring"] == pytest.approx(losses["dense"], rel=1e-4)


def test_the_examples_are_short():
    found = parts.examples()
    assert len(found) >= 1
    assert all(len(code.splitlines()) <= 60 for code in found.values())
    assert os.sep not in "".join(found)
