"""Seeded mutations of command lines: each config that is accepted can be built, others are refused.

Three of five cases set fields to values that fit together, in the words of a command line, and what
is built has to have them. The others set any field or argument to any text.
"""

import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from molphenix_jax import main, tasks
from molphenix_jax.errors import InputError
from molphenix_jax.losses import LOSSES
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config, complete, plain
from molphenix_jax.runtime.optimizer import OPTIMIZERS, SCHEDULES, make_optimizer
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks import spec_of
from molphenix_jax.train import need_memory_to_train
from tests.fuzz.attempts import seeds

ALIGN = ("s2l", "siglip", "clip", "dcl", "cwcl", "hopfield_clip", "infoloob", "cloome")
CONFIGS = (*ALIGN, "cloome_images", "mae", "molgps")
# Text of a field → its value; all of them go together.
TRAIN = {
    "train.steps": {"9": 9, "7": 7},
    "train.batch_size": {"2": 2, "7": 7},
    "train.members": {"2": 2},
    "train.optimizer": {name: name for name in OPTIMIZERS},
    "train.schedule": {name: name for name in SCHEDULES},
    "train.b1": {"0": 0.0, ".5": 0.5},
    "train.weight_decay": {"0": 0.0, "1e-3": 1e-3},
    "train.compute_dtype": {"bfloat16": "bfloat16"},
    "train.grad_clip": {"5": 5.0},
    "seed": {"3": 3},
}
ALIGNED = {
    "data.psi": {"0.5": 0.5, "1": 1.0},
    "data.undefined_p": {"inactive": "inactive"},
    "data.keep_inactive": {".25": 0.25},
    "data.split": {"butina": "butina"},
    "data.split_seed": {"5": 5},
    "data.averaging": {"full": "full", "single": "single"},
    "data.max_replicates": {"3": 3},
    "molecules.blocks": {"maccs": "maccs", "maccs,physchem": "maccs,physchem"},
    "model.phenomics.width": {"12": 12},
    "model.phenomics.n_blocks": {"0": 0, "2": 2},
    "model.phenomics.components": {"0": 0, "5": 5},
    "model.molecules.whiten": {"0": 0.0, "1": 1.0},
    "model.molecules.dropout": {"0": 0.0},
    "model.dim": {"1": 1, "6": 6},
    "model.concentration": {name: name for name in ("none", "log", "sigmoid", "onehot")},
    "loss.name": {name: name for name in LOSSES},
    "loss.execution": {"chunked": "chunked", "ring": "ring"},
    "loss.null_constant": {"literal": "literal"},
    "loss.similarity_from": {"sample": "sample"},
    "eval.psi": {"0.05": (0.05,), "0.01,0.1": (0.01, 0.1)},
    "eval.baselines": {"": "", "knn": "knn"},
}
FITTING = {
    "align": {**TRAIN, **ALIGNED},
    "align_images": {
        **{name: TRAIN[name] for name in TRAIN if name != "train.members"},
        "model.dim": {"5": 5},
        "model.resnet_width": {"2": 2, "3": 3},
        "images.augment": {"false": False, "true": True},
        "loss.name": {"clip": "clip", "siglip": "siglip"},
    },
    "mae_pretraining": {
        **{name: TRAIN[name] for name in TRAIN if name != "train.members"},
        "data.augment": {"false": False},
        "model.mask_ratio": {".5": 0.5},
        "model.encoder.depth": {"1": 1},
        "eval.standardise": {"none": "none"},
    },
    "property_pretraining": {
        **TRAIN,
        "data.computed": {"physchem": "physchem", "maccs": "maccs"},
        "model.head_width": {"0": 0, "5": 5},
        "model.encoder.depth": {"1": 1},
        "model.head_blocks": {"maccs": "maccs"},
        "data.test_fraction": {".4": 0.4},
    },
}
ANY = (
    *(
        "",
        "-1",
        "0",
        "1",
        "2",
        "3",
        "3.5",
        "-0.5",
        "nan",
        "inf",
        "1e400",
        "1e-3",
        "99999999999",
        "x",
    ),
    *(
        "none",
        "auto",
        "a,b",
        "1,2",
        "(1,2)",
        "[",
        "(",
        "'",
        '"',
        "True",
        "false",
        "../x",
        "%s",
        "=",
    ),
    *("\u00e9", "a=b", "0.9", "17", "[(1,2)]", "('a','b')", "*", "(?", "{}", "--", " ", "plate"),
)
ARGUMENTS = (
    *(
        "size=tiny,size=small",
        "size=",
        "size",
        "speed=3",
        ",,size=tiny",
        "wells=",
        "wells=gone.csv",
    ),
    *("encoder=mpnn", "encoder=x", "preset=molgps", "preset=", "width=-3", "width=0", "width=6"),
    *(
        "labels=gone.csv",
        "layout=table",
        "layout=heap",
        "images=gone",
        "index=gone",
        "pretrained=x",
    ),
    *(
        "size=tiny,encoder=mpnn",
        "size=tiny,wells=gone.csv",
        "size=tiny,pretrained=gone",
        "=",
        "a=b=c",
    ),
)


def leaves(config: Config, before: str = "") -> list[str]:
    found: list[str] = []
    for name, value in plain(config).items():
        found += leaves(value, f"{before}{name}.") if isinstance(value, dict) else [before + name]
    return found


def resolved(arguments: list[str], monkeypatch, capsys) -> Config:
    """The config of a command line.

    Raises:
        InputError: It is refused, with what is said.
    """
    # ml_collections would run the file in the module of the config before it.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    capsys.readouterr()
    with flagsaver.flagsaver():
        try:
            main._parse_flags(["main.py", *arguments])
        except SystemExit as end:
            said = capsys.readouterr().out
            if end.code not in (1, 2) or not said.startswith("error: "):
                raise
            raise InputError(said) from None
        return flags.FLAGS.config.copy_and_resolve_references()


def built(config: Config, workdir) -> tuple:
    """The run of a config, and the shapes of its parameters: all but compiling and training."""
    tasks.validate(config)
    config.train.devices = 1
    mesh = meshes.make_mesh(1)
    with console.capture():
        run = tasks.make(config, mesh, workdir).run(0, workdir)
    key = jax.random.key(0)
    need_memory_to_train(run, config, mesh)
    params = run.shapes
    optimizer = make_optimizer(config.train, params)
    jax.eval_shape(optimizer.init, params)
    tables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), run.tables)
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else mesh:
        loss, _ = jax.eval_shape(run.loss, params, run.batch(0), tables, key)
    assert loss.shape == ()
    return run, params


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@seeds(20, often=10)
def test_what_is_accepted_can_be_built(seed, tmp_path, screens, monkeypatch, capsys, attempt):
    rng = np.random.default_rng(seed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOLPHENIX_CACHE", str(screens))
    name = str(rng.choice(CONFIGS)) if rng.random() < 0.7 else str(rng.choice(CONFIGS[-3:]))
    task = {"mae": "mae_pretraining", "molgps": "property_pretraining"}.get(name, "align")
    task = "align_images" if name == "cloome_images" else task
    arguments = ["--workdir=run"]
    if seed % 5 < 2:
        begin = f"{name}:size=tiny"
        if rng.random() < 0.3:
            begin = f"{name}:{rng.choice(ARGUMENTS)}"
        for field in rng.choice(leaves(spec_of(task).default_config()), rng.integers(1, 4)):
            arguments.append(f"--config.{field}={rng.choice(ANY)}")
        given = [f"--config={begin}", *arguments]

        def parsed_and_built():
            config = resolved(given, monkeypatch, capsys)
            if plain(config)["train"]["steps"] <= 100:  # tiny: others take long
                return built(config, tmp_path)
            return tasks.validate(config)

        attempt("damaged", parsed_and_built)
        return
    fitting = FITTING[task]
    chosen = rng.choice(list(fitting), rng.integers(1, 6), replace=False).tolist()
    texts = {field: str(rng.choice(list(fitting[field]))) for field in chosen}
    if texts.get("train.schedule") == "onecycle":
        texts["train.warmup_steps"] = "2"
    wanted = {field: fitting[field][text] for field, text in texts.items() if field in fitting}
    arguments += [f"--config.{field}={text}" for field, text in texts.items()]
    config, (run, params) = attempt(
        "valid",
        lambda: (
            c := resolved([f"--config={name}:size=tiny", *arguments], monkeypatch, capsys),
            built(c, tmp_path),
        ),
    )
    flat = dict(_flat(config))
    assert {field: flat[field] for field in wanted} == wanted
    again = complete(plain(config), spec_of(task).default_config(), earlier={}, source="")
    assert plain(again) == plain(config)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    if "model.dim" in wanted:
        assert sum(shape[-1] == wanted["model.dim"] for shape in shapes if shape) >= 2
    if "model.phenomics.width" in wanted:
        assert any(12 in shape for shape in shapes)
    rows = jax.tree.leaves(run.batch(0))[0].shape[0]
    if "train.batch_size" in wanted and task != "property_pretraining":
        assert rows == wanted["train.batch_size"]


TINY = {
    "s2l": "align",
    "cloome_images": "align_images",
    "mae": "mae_pretraining",
    "molgps": "property_pretraining",
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@seeds(8)
def test_whole_numbers_of_any_size_are_refused_or_can_be_built(
    seed, tmp_path, screens, monkeypatch, capsys, attempt
):
    rng = np.random.default_rng(seed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOLPHENIX_CACHE", str(screens))
    name = str(rng.choice(list(TINY)))
    whole = [f for f, v in _flat(spec_of(TINY[name]).default_config()) if type(v) is int]
    field, value = rng.choice(whole), int(10 ** rng.uniform(3, 9.3))
    given = [f"--config={name}:size=tiny", "--workdir=run", f"--config.{field}={value}"]
    attempt("damaged", lambda: built(resolved(given, monkeypatch, capsys), tmp_path))


def _flat(config: Config, before: str = ""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
