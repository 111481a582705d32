"""Parts from outside through the real commands: the examples of docs/contributing.md."""

import json
import os
import pathlib
import re
import runpy
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tifffile

import molphenix_jax
from molphenix_jax import plugins, tasks
from molphenix_jax.evaluation import BASELINES, MetricSpec
from molphenix_jax.losses import LOSSES
from molphenix_jax.models import (
    ConcentrationEncoding,
    ConcentrationSpec,
    MolPhenix,
    TowerConfig,
)
from molphenix_jax.models.heads import ResidualHead
from molphenix_jax.molecules import MoleculeEncoderSpec, column_names, featurise
from molphenix_jax.parts import ROOMS, PartError, forget
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.trained.folder import ModelError
from tests import forks, tiny
from tests.documented import parts
from tests.images import screens
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
        command = [sys.executable, "-m", "molphenix_jax.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = tiny.finish(forks.start(command, environment, cwd=folder, **pipes))
        assert done.returncode == status, done.stdout
        return " ".join(done.stdout.split())

    return call


@pytest.mark.long
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


@pytest.mark.long
def test_parts_of_many_kinds_train_together(molphenix, tmp_path):
    files = "hinge.py,waves.py,gated.py,long_table.py,reciprocal.py,directions.py"
    molphenix(
        *("train", f"--plugin={files}", "--plugin", "dose.py", "--workdir=run"),
        *("--config=s2l:size=tiny", *FEW, "--config.eval.baselines=dose"),
        *("--config.model.molecules.head=gated", "--config.train.writers=long_table"),
        *("--config.loss.name=hinge", "--config.loss.options.hinge.margin=2.0"),
        *("--config.model.concentration=waves", "--config.eval.heldout_concentrations=10.0,"),
    )
    results = json.loads((tmp_path / "run" / "evaluation.json").read_text())["results"]
    assert {row["model"] for row in results} == {"molphenix", "dose", "chance", "oracle"}
    assert "heldout_concentration:10" in {row["split"] for row in results}
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["plugins"] == [*files.split(","), "dose.py"]
    assert stored["loss"]["options"]["hinge"] == {"margin": 2.0}
    run = tmp_path / "run"
    for row in results:
        low, high = row["mrr_ci"] or (0.0, 1.0)
        assert low - 1e-9 <= row["mrr"] <= high + 1e-9
        if row["model"] == "chance":
            n = np.arange(1, row["n_gallery"] + 1)
            assert row["mrr"] == row["chance_mrr"] == pytest.approx((1 / n).mean(), rel=1e-12)
        assert row["top_5pct"] <= row["top_10pct"]
    page = (run / "report" / "index.html").read_text()
    assert "<h2>Both directions</h2>" in page
    assert "MRR" in page
    assert (
        "| MRR | top-10% | mean 1/rank | median rank |"
        in (run / "report" / "results.md").read_text()
    )
    lines = pd.read_csv(run / "long_table" / "metrics.csv")
    told = [line for line in read_metrics(run / METRICS_FILE) if line["kind"] == "train"]
    assert lines[lines["name"] == "loss"]["value"].tolist() == [line["loss"] for line in told]
    plugins.load([str(tmp_path / name) for name in ("gated.py", "waves.py")])
    try:
        model = molphenix_jax.load(run)
        assert model._trained.params["params"]["molecule_head"]["gain"].shape == (1, 16)
        assert np.isfinite(model.embed_molecules(["CCO"], concentration_um=1.0)).all()
    finally:
        plugins.unload()
    with pytest.raises(ModelError, match="has the head 'gated', which is not registered"):
        molphenix_jax.load(run)


@pytest.mark.long
def test_a_molecule_encoder_is_a_block_of_training_and_of_prepare(molphenix, tmp_path):
    config = ("--config=s2l:size=tiny,molecules=maccs+letters", "--workdir=run", *FEW)
    molphenix("train", "--plugin=letters.py", *config, "--config.eval.baselines=")
    screen = json.loads((tmp_path / "run" / "screen.json").read_text())
    assert screen["parameters"]["blocks"] == ["maccs", "letters"]
    assert screen["parameters"]["molecule_encoders"] == {"letters": "1"}
    molphenix("evaluate", "--workdir=run")
    said = molphenix("train", *config, status=2)
    assert "molecules='letters' is unknown; choose one of morgan, maccs, rdkit, physchem" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0]], r"'mine' gives \[1, 1\] for 2 molecules; it has to give \[2, 2\]"),
        ([[1.0, 2.0], [np.nan, 0.0]], "'mine' gives no finite numbers for 'CCO'"),
    ],
)
def test_a_molecule_encoder_that_gives_something_else_is_a_sentence(given, message):
    spec = MoleculeEncoderSpec(lambda smiles: given, width=2)
    molphenix_jax.register("molecule_encoder", "mine", spec)
    try:
        with pytest.raises(PartError, match=message):
            featurise(["C", "CCO"], "mine")
        assert column_names("mine") == ["mine_0", "mine_1"]
    finally:
        forget([("molecule_encoder", "mine")])


@pytest.mark.long
def test_a_task_trains_continues_and_is_evaluated(molphenix, tmp_path):
    train = ("train", "--plugin=line.py", "--config=line.py", "--workdir=run")
    said = molphenix(*train, "--config.data.slope=3.0")
    assert "plugin line.py: task line" in said
    evaluation = tmp_path / "run" / "evaluation.json"
    assert json.loads(evaluation.read_text())["slope"] == pytest.approx(3.0, abs=0.3)
    more = ("--config.train.steps=80", "--config.data.slope=3.0")
    assert "continuing to 80 updates" in molphenix(*train, *more)
    molphenix("evaluate", "--workdir=run", "--name=again")
    again = tmp_path / "run" / "evaluations" / "again" / "evaluation.json"
    assert json.loads(again.read_text()) == json.loads(evaluation.read_text())
    said = molphenix(*train, "--config.train.batch_size=-1", status=1)
    assert "train.batch_size=-1: must be at least 1" in said


@pytest.mark.long
def test_a_layout_and_an_image_encoder_make_a_wells_table(molphenix, tmp_path):
    flat_plates(tmp_path / "flat_plates")
    screens.treatments(tmp_path / "platemap.csv")
    options = ("--images=flat_plates", "--metadata=platemap.csv", "--crop=24", "--batch-size=4")
    embed = ("embed-images", "--plugin=flat.py,quadrants.py", *options, "--out=wells.parquet")
    molphenix(*embed, "--layout=flat", "--encoder=quadrants")
    table = pd.read_parquet(tmp_path / "wells.parquet")
    assert sorted(table["well"]) == ["A01", "A01", "A02", "A02", "B01", "B01"]
    row = table[(table["plate"] == "BR00117035") & (table["well"] == "A02")].iloc[0]
    assert row["smiles"] == screens.ETHANOL
    of_well = np.stack([screens.pixels(1, 1, channel) for channel in (1, 2, 3)]).astype(float)
    means = of_well.reshape(3, 2, 12, 2, 12).mean((2, 4)).ravel()
    np.testing.assert_allclose(row["embedding"], means, rtol=1e-5)
    said = molphenix(*embed, "--layout=heap", "--encoder=quadrants", status=2)
    assert "'heap': choose one of gallery, rxrx3-core, bray2017, table, flat" in said


def flat_plates(folder: pathlib.Path) -> None:
    """The images of `screens.gallery`, field 1, laid out as flat.py of the docs reads them."""
    folder.mkdir()
    for plate in ("BR00117035", "BR00117036"):
        for number, well in enumerate(("a1", "a2", "b1")):
            for channel in range(1, 4):
                image = screens.pixels(number, 1, channel)
                tifffile.imwrite(folder / f"{plate}_{well}_{channel}.tif", image)


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("concentration", print, "must be a ConcentrationSpec"),
        ("image_encoder", print, "must be a ImageEncoderSpec"),
        ("molecule_encoder", print, "must be a MoleculeEncoderSpec"),
        ("layout", lambda images: None, "must be a function (images, index, channels, take) that"),
        ("baseline", 3, "must be a function (data) that gives a Prediction"),
        ("task", tasks.align, "must be a TaskSpec"),
        ("layout", None, "must be a function"),
        ("head", MoleculeEncoderSpec, "must be a class of Flax modules with the attributes width"),
        ("wells_layout", {}, "must be a Layout"),
        ("metric", lambda rank, n: rank, "must be a MetricSpec"),
        ("section", lambda evaluation: "", "must be a function (evaluation, metrics, folder) that"),
        ("writer", lambda: None, "must be a function (folder) that gives a Writer"),
    ],
)
def test_a_spec_of_another_kind_is_a_sentence(kind, spec, message):
    with pytest.raises(PartError) as failed:
        molphenix_jax.register(kind, "mine", spec)
    assert f"{kind} 'mine': {message}" in str(failed.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("layout", "simulated"),
        ("baseline", "oracle"),
        ("image_encoder", "intensity"),
        ("metric", "psi"),
        ("wells_layout", "simulated"),
    ],
)
def test_a_name_that_stands_for_something_else_is_taken(kind, name):
    with pytest.raises(PartError, match=f"{kind} '{name}' is taken: choose another name"):
        molphenix_jax.register(kind, name, lambda *_: None)


def test_a_part_may_be_imported_when_it_is_asked_for():
    try:
        molphenix_jax.register("task", "later", "molphenix_jax.tasks.align:TASK")
        molphenix_jax.register("task", "never", "molphenix_jax.tasks.align:TASKS")
        molphenix_jax.register("task", "wrong", "molphenix_jax.tasks.align:make")
        assert tasks.spec_of("later") is tasks.spec_of("align")
        with pytest.raises(PartError, match="'never' is registered as 'molphenix_jax.tasks.align"):
            tasks.spec_of("never")
        with pytest.raises(PartError, match="task 'wrong': must be a TaskSpec"):
            tasks.spec_of("wrong")
    finally:
        parts_of_tests = [("task", name) for name in ("later", "never", "wrong")]
        forget(parts_of_tests)


def test_an_encoding_that_gives_no_columns_is_a_sentence():
    molphenix_jax.register("concentration", "flat", ConcentrationSpec(lambda log10, _: log10))
    try:
        encoding = ConcentrationEncoding.fit(np.array([1.0, 10.0]), kind="flat")
        with pytest.raises(PartError, match=r"'flat': its encode gives \[2\] for two doses"):
            _ = encoding.width
    finally:
        forget([("concentration", "flat")])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda rank, n: rank, r"'mine' gives \[3\] for 3 ranks, from 1 to 3"),
        (lambda rank, n: 0.5, r"'mine' gives \[\] for 3 ranks"),
        (lambda rank, n: rank / np.where(rank == 2, np.nan, n), "in \\[0, 1\\] for each"),
    ],
)
def test_a_metric_that_is_no_share_is_a_sentence(value, said):
    with pytest.raises(PartError, match=said):
        MetricSpec("mine", value)(np.array([1, 2, 3]), np.array([3, 3, 3]))


def test_a_head_of_another_width_is_a_sentence():
    class Narrow(ResidualHead):
        @nn.compact
        def __call__(self, x, *, train):
            return x[:, :2]

    molphenix_jax.register("head", "narrow", Narrow)
    try:
        model = MolPhenix(TowerConfig(4, 0, head="narrow"), TowerConfig(4, 0), dim=3)
        with pytest.raises(PartError, match=r"'narrow' gives \[5, 2\] for 5 rows; .* \[5, 3\]"):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((5, 4)), jnp.zeros((5, 4)))
    finally:
        forget([("head", "narrow")])


def test_a_file_that_runs_again_replaces_its_part_and_another_does_not(tmp_path):
    code = "from molphenix_jax import register\nregister('baseline', 'mine', lambda data: 1)\n"
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(code)
    try:
        plugins.load([str(tmp_path / "a.py")])
        first = BASELINES["mine"]
        runpy.run_path(str(tmp_path / "a.py"))
        assert BASELINES["mine"] is not first
        with pytest.raises(plugins.PluginError, match="line 2: baseline 'mine' is taken"):
            plugins.load([str(tmp_path / "b.py")])
        (tmp_path / "a.py").write_text(code + code)
        with pytest.raises(PartError, match="baseline 'mine' is taken"):
            runpy.run_path(str(tmp_path / "a.py"))
    finally:
        plugins.unload()
    assert "mine" not in BASELINES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx +", ", line 2: SyntaxError: "),
        ("x = 1\ny = z\n", ", line 2: NameError: name 'z' is not defined"),
        (
            "import molphenix_jax\n\nmolphenix_jax.register('loss', 'clip', None)\n",
            ", line 3: loss 'clip' is taken: choose another name (there are clip, ",
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


@pytest.mark.long
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
    calls = [re.search(r'register\(\s*"(\w+)"', code) for code in found.values()]
    assert {call[1] for call in calls if call} == {*ROOMS}
    # An ablation is a file that is named, and registers nothing.
    assert [name for name, call in zip(found, calls, strict=True) if not call] == ["dropout.py"]
    assert all(len(code.splitlines()) <= 60 for code in found.values())
    assert os.sep not in "".join(found)
