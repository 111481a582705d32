"""Every config file resolves, holds together, and knows its argument string."""

import importlib.util
import json
import pathlib
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from molphenix_jax import main, tasks
from molphenix_jax.losses import LOSSES, S2L_PRESETS
from molphenix_jax.runtime.config import ConfigError, config_file, plain

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[2] / "configs").glob("*.py"))

LOSS_CONFIGS = sorted(LOSSES)


def get_config(name: str, arg: str | None = None):
    path = CONFIGS[0].parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"configs_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_resolves_validates_and_survives_json(path):
    config = get_config(path.stem)
    tasks.validate(config)
    assert json.loads(json.dumps(plain(config))) == plain(config)
    assert f"--config=configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_refuses_an_argument_it_does_not_know(path):
    with pytest.raises(ConfigError, match="'speed' is unknown; known: "):
        get_config(path.stem, "speed=9")


# Argument string → the fields it decides, as they are to be.
GOLDEN = {
    "wells=a.parquet": {"data.wells": "a.parquet"},
    "size=paper": {
        "model.dim": 512,
        "model.phenomics.width": 1024,
        "model.phenomics.n_blocks": 6,
        "model.phenomics.components": 0,
        "model.molecules.width": 1232,
        "model.molecules.components": 0,
        "train.members": 1,
    },
    "preset=molgps,wells=b.csv": {
        "data.wells": "b.csv",
        "loss.name": "s2l",
        "loss.options.s2l.gamma": 1.75,
        "loss.options.s2l.zeta": 0.75,
        "loss.options.s2l.threshold": 0.75,
    },
    "wells=a.parquet+b.parquet,molecules=maccs+morgan+mine=emb.parquet": {
        "data.wells": "a.parquet,b.parquet",
        "molecules.blocks": "maccs,morgan",
        "molecules.embeddings": "mine=emb.parquet",
    },
    "molecules=mine=emb.parquet": {
        "molecules.blocks": "",
        "molecules.embeddings": "mine=emb.parquet",
    },
    "preset=fingerprint": {"loss.options.s2l.gamma": 2.75, "loss.options.s2l.zeta": 1.0},
}


@pytest.mark.parametrize("arg", GOLDEN)
def test_argument_strings_of_s2l(arg):
    config = get_config("s2l", arg)
    tasks.validate(config)
    flat = dict(flatten(config))
    assert {name: flat[name] for name in GOLDEN[arg]} == GOLDEN[arg]


@pytest.mark.parametrize(
    ("molecules", "rivals"),
    [
        ("morgan+physchem", "knn,ridge,physchem,dose_only"),
        ("physchem+minimol", "knn,ridge,physchem,embedded,dose_only"),
        ("mine=emb.parquet", "knn,ridge,physchem,embedded,dose_only"),
    ],
)
def test_a_model_that_is_told_embeddings_has_a_rival_that_is(molecules, rivals):
    config = get_config("siglip", f"molecules={molecules}")
    assert config.eval.baselines.startswith(rivals)


@pytest.mark.parametrize("preset", S2L_PRESETS)
def test_every_preset_of_s2l(preset):
    config = get_config("s2l", f"preset={preset}")
    tasks.validate(config)
    options = config.loss.options.s2l
    assert {name: options[name] for name in S2L_PRESETS[preset]} == dict(S2L_PRESETS[preset])


@pytest.mark.parametrize(
    "arg", ["preset=best", "size=huge", "encoder=gnn", "pretrained=gone", "molecules=ecfp"]
)
def test_an_argument_that_cannot_be_is_a_sentence(arg):
    with pytest.raises(ConfigError, match=r"choose one of|gone/config.json is missing"):
        get_config("s2l", arg)


@pytest.mark.parametrize("name", LOSS_CONFIGS)
def test_every_loss_takes_the_same_arguments(name):
    config = get_config(name, "wells=a.parquet,size=paper,encoder=mpnn,molecules=maccs")
    tasks.validate(config)
    assert (config.loss.name, config.data.wells, config.model.dim) == (name, "a.parquet", 512)
    assert (config.molecules.encoder, config.molecules.blocks) == ("mpnn", "maccs")
    assert config.train.lr_rules
    with pytest.raises(ConfigError, match="pretrained"):
        get_config(name, "pretrained=gone/pretrained")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_has_a_tiny_size_that_needs_no_file(path):
    config = get_config(path.stem, "size=tiny")
    tasks.validate(config)
    assert config.train.steps <= 10
    assert "size=tiny" in path.read_text()
    assert "Expect" in path.read_text()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("configs/s2p.py", "--config=configs/s2p.py is no config file; give one that ends in .py"),
        ("s2p", "--config=s2p is no config file"),
        ("s2p:size=tiny", "or a config by its name: clip, cloome, cloome_images, cwcl"),
        ("configs", "--config=configs is no config file"),
        ("s2l:speed=9", "'speed' is unknown; known: wells, molecules, size"),
        ("configs/s2l.py:speed=9", "'speed' is unknown; known: wells, molecules, size"),
        ("configs/mae.py:size=huge", "size='huge' is unknown; choose one of tiny, small"),
        ("configs/molgps.py:width=wide", "width='wide' is not of type int"),
        ("configs/cloome_images.py:layout=heap", "layout='heap' is unknown; choose one of gallery"),
        ("tests/tiny.py", "tests/tiny.py has no get_config"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--config.train.steps=5",)], ids=["alone", "field"])
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_wrong_name_or_argument_is_one_sentence(config, message, more, monkeypatch, capsys):
    monkeypatch.chdir(CONFIGS[0].parents[1])
    argv = ["main.py", "--workdir=runs/none", f"--config={config}", *more]
    monkeypatch.setattr(sys, "argv", argv)
    # ml_collections would run the file in the module of the config before it.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        main._parse_flags(argv)
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "override",
    [
        "gone=1",
        "evl.folds=1",
        "eval.gone=1",
        "train.lr.deep=1",
        "eval.psi[9]=1",
        "eval.psi.x=1",
        "loss.name.x=1",
        "train.=1",
        ".train=1",
        "train[0]=1",
    ],
)
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_field_that_is_none_is_one_sentence(override, monkeypatch, capsys):
    argv = ["main.py", "--workdir=runs/none", "--config=s2l:size=tiny", f"--config.{override}"]
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        main._parse_flags(argv)
    assert end.value.code == 2
    assert capsys.readouterr().out.startswith("error: no such config field: ")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_an_error_in_the_code_of_a_config_file_keeps_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def get_config(arg=None):\n    return {}['gone']\n")
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    argv = ["main.py", "--workdir=run", f"--config={tmp_path / 'mine.py'}", "--config.gone=1"]
    with flagsaver.flagsaver(), pytest.raises(KeyError, match="gone"):
        main._parse_flags(argv)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_found_by_its_name_from_any_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file(path.stem).samefile(path)


def test_a_file_of_ones_own_is_taken_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("s2l.py").touch()
    assert config_file("s2l.py") == pathlib.Path("s2l.py")
    assert config_file("s2l").samefile(CONFIGS[0].parent / "s2l.py")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("form", [("--config=s2l:size=tiny",), ("--config", "s2l:size=tiny")])
def test_a_name_takes_arguments_and_fields(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    argv = ["main.py", *form, "--workdir=run", "--config.train.steps=7"]
    with flagsaver.flagsaver():
        assert main._parse_flags(argv) == ["main.py"]
        config = flags.FLAGS.config
    assert config.train.steps == 7
    assert config.model.dim == get_config("s2l", "size=tiny").model.dim


def flatten(config, prefix=""):
    for name, value in plain(config).items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
