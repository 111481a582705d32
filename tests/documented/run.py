"""Runs a documented command at its smallest size, in this process, in a folder of its files.

A command of `molphenix` runs, with options appended that make it small; a benchmark is parsed, and
runs whole in `tests/bench`. A training is parsed as it stands and checked by its task. What then
happens, at the smallest size that `SMALL` gives:

- the first training of each task runs, in whatever text, and the first with folds whose folder a
  later command reads;
- the others differ from it in data, loss and fields. They are built: data prepared, model
  initialised, the first batch drawn and its loss traced, once for each different program. Where a
  later command reads the folder of such a training, it finds a copy of that first one.

That every loss trains, and folds, and each kind of input, is tested elsewhere.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import flags
from absl.testing import flagsaver

from molphenix_jax import cli, main, tasks
from molphenix_jax.commands.training import compile
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import plain
from tests import tiny
from tests.documented import collect
from tests.tasks.property_pretraining import tiny_labels

TRAIN = collect.TRAIN.split()
# What stands for something else: a file of the reader's, a folder, a program.
PLACEHOLDERS = {
    r"\b(WELLS|FILES)\b": "my_wells.parquet",
    r"\bwells=FILE\b": "wells=my_wells.parquet",
    r"\bPATH\b": sys.executable,
    r"--model=(MODEL|RUN)$": "--model=model_before",
    r"--config=NAME\b": "--config=s2l",
    r"\bRUN/config.json": "run_before/config.json",
    r"=DIR_OF_THE_OTHER\b": "=DIR-1",
    r"^--set=.*": r"\g<0>,n_molecules=30,n_experiments=2,n_features=16,concentrations_um=1/10",
    r"runner=FlinkRunner,flink_master=…": "runner=DirectRunner",
}

# Fields that decide how long a run takes, by task; they hold whatever the command says.
_EVERY = {
    "train.steps": 1,
    "train.warmup_steps": 0,
    "train.log_every": 1,
    "train.validate_every": 1,
    "train.checkpoint_every": 1,
    "train.batch_size": 16,
    "train.devices": 1,
    "eval.n_bootstrap": 10,
}
_ENCODER = {
    "model.encoder.width": 8,
    "model.encoder.depth": 1,
    "model.encoder.out_width": 8,
    "model.encoder.expansion": 1,
    "model.encoder.virtual_node": False,
    "model.encoder.positional": ("rwse",),
    "train.lr_rules": (),
}
_ALIGN = {
    name: value
    for name, value in tiny.FIELDS.items()
    if name.startswith(("model.", "data.simulated.", "train.members"))
} | {"data.n_null": 100}
_ALIGN |= {f"model.{tower}.n_blocks": 0 for tower in ("phenomics", "molecules")}
SMALL: dict[str, dict[str, Any]] = {
    "align": _ALIGN | _ENCODER,
    "align_images": {
        **_ALIGN,
        "model.resnet": "resnet10",
        "model.resnet_width": 4,
        "images.downsample": 4,
    },
    "mae_pretraining": {
        "data.crop": 16,
        "data.repeats": 1,
        "model.width": 16,
        "model.depth": 1,
        "model.heads": 2,
        "model.encoder.width": 16,
        "model.encoder.depth": 1,
        "model.encoder.heads": 2,
    },
    "property_pretraining": {**_ENCODER, "data.n_computed": 60, "model.head_width": 8},
}
# The same for fields that somebody chose with a reason: only where the command names them not.
LESS = {
    "eval.baselines": {"property_pretraining": tiny_labels.FIELDS["eval.baselines"]},
    "molecules.blocks": {"align": "maccs", "align_images": "maccs"},
}
# Fields that make no other program and no other data: checked, and not built once more.
_NUMBERS = (
    "seed",
    "train.learning_rate",
    "train.steps_per_dispatch",
    "model.bias_init",
    "eval.psi",
)

# Options of `molphenix` commands that make them small: of the longest beginning that fits.
OPTIONS = {
    "prepare": "--n_null=100 --blocks=maccs",
    "enrichment": "--trees=maccs --at-least=1 --seed=1 --out=E",
    "figures": "--smiles-column=smiles --concentrations=1 --molecules=150 --seed=1 --out=F",
    "embed ": "--layers=graph,layer_0 --smiles-column=smiles --checkpoint=1 --batch=16",
    "embed molecules.csv --encoder=minimol": "--batch=16",
    "embed-images": "--crop=16 --core=16 --batch-size=8",
    "embed-images --encoder=encoders": "--crop=16 --core=16 --batch-size=8 --channelwise "
    "--positions=slice",
    "published rxrx3_core": "--seeds=2",
    "published bray2017 --run=RUN": "--help",  # docs/public.md has a run
    "published replicates": "--help",  # copairs need not be installed
    "ablate": "--dry-run",  # builds every config; tests/ablations runs some
    "bench loss": "--batches=64 --width=16 --repeats=1 --losses=siglip --dtype=bfloat16 --json=F",
    "bench step": "--batches=16 --size=small --repeats=1 --dtype=float32 --json=F",
    "bench scale": "--molecules=300 --wells=1500 --width=16 --steps=2 --batches=16 --size=small "
    "--placement=stream --folder=screens/scale --json=F",
    "bench search": "--queries=4 --rows=500 --width=8 --top=3 --repeats=1 "
    "--approximate=IVF4,Flat --approximate=usearch --json=F",
    "bench device": "--size=tiny --budget-s=9",
    "bench library": "--top=5 --percent=10 --table=T --json=F",
    "bench minimol": "--molecules=4 --repeats=1 --json=F --encoder=minimol",
    "bench molecules": "--molecules=16 --batch=8 --width=8 --depth=1 --repeats=1 --json=F",
}

_built: set[str] = set()  # programs that were built or trained in this process
# The folders of the first trainings by task, and whether they have folds.
_trained: dict[tuple[str, bool], pathlib.Path] = {}


class Reader:
    """Somebody who types the commands of a text, one after the other, in one folder."""

    def __init__(self, commands: list[list[str]]):
        self._commands = [_as_module([_filled(word) for word in words]) for words in commands]
        self._number = 0

    def type_all(self) -> None:
        """Types them."""
        for number, words in enumerate(self._commands):
            try:
                self._type(words, number)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{' '.join(words)}\nended with {error!r}") from error

    def _type(self, words: list[str], number: int) -> None:
        if words[0].startswith("--config."):
            self._train([*self._base(words, number), *words], number)
        elif words[: len(TRAIN)] == TRAIN:
            self._train(words, number)
        elif words[0] == "make":
            self._make(words[1], number)
        elif words[:2] == ["pip", "install"]:
            _check_installs(words[2:])
        elif words[0] == "molphenix":
            # Rows of a table are alternatives: each has a folder, or a file, of its own.
            own = f"=DIR-{len(list(pathlib.Path().glob('DIR-*'))) + 1}"
            words = [own.join(re.split(r"=DIR$", word)) for word in words]
            for word in words:
                if word.startswith("--out=") and os.path.isfile(word[6:]):
                    os.unlink(word[6:])
            _molphenix(words[1:])
        elif not words[0].endswith(("/", ".md")):  # a script of launch/
            subprocess.run(["bash", "-n", collect.ROOT / words[0]], check=True)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _train(self, words: list[str], number: int) -> None:
        if not any(word.startswith("--workdir=") for word in words):
            words = [*words, f"--workdir=runs/{self._next()}"]
        with _typed(words[len(TRAIN) :]) as config:
            if "--mode=evaluate" in words:
                _end_well(lambda: main.main([]))
                return
            tasks.validate(config)
            _shrink(config, words)
            tasks.validate(config)
            workdir = flags.FLAGS.workdir
            program, is_read = _program(config), self._is_used_later(workdir, number)
            kind = (config.task, _has(config, "data.folds") and config.data.folds > 1)
            is_first = config.task not in {task for task, _ in _trained}
            if is_first or (is_read and kind not in _trained):
                _end_well(lambda: main.main([]))
                _trained[kind] = pathlib.Path(workdir).absolute()
            elif program not in _built:
                _build(config, pathlib.Path(workdir))
            _built.add(program)
            if is_read and not os.path.exists(workdir):
                shutil.copytree(_trained[kind], workdir)

    def _is_used_later(self, folder: str, number: int) -> bool:
        later = " ".join(word for words in self._commands[number + 1 :] for word in words)
        return re.search(rf"(?<![\w/-]){re.escape(folder)}(?![\w-])", later) is not None

    def _base(self, fields: list[str], number: int) -> list[str]:
        """The nearest training before the fields whose config has them."""
        for before in reversed(self._commands[:number]):
            if before[: len(TRAIN)] == TRAIN and any(w.startswith("--config=") for w in before):
                words = [word for word in before if not word.startswith("--workdir=")]
                given = {_field(word) for word in fields}
                words = [word for word in words if _field(word) not in given]
                with _typed([*words[len(TRAIN) :], "--workdir=none"]) as config:
                    if all(_has(config, field) for field in given):
                        return words
        return [*TRAIN, "--config=configs/s2l.py"]

    def _make(self, target: str, number: int) -> None:
        """The recipe of a target: trainings run, tools exist; what installs is not repeated."""
        recipe = subprocess.run(
            # All of it, also what is up to date here.
            ["make", "--dry-run", "--always-make", "--no-print-directory", target],
            cwd=collect.ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for line in recipe.stdout.replace("\\\n", " ").splitlines():
            words = line.split()
            while re.match(r"\w+=", words[0]):  # of the environment
                words = words[1:]
            if words[1:3] == TRAIN[1:]:
                self._train(["python", *words[1:]], number)
            elif words[1:3] == ["-m", "pip"]:
                _check_installs([word.strip("'") for word in words if word.startswith("'")])
            elif words[1:3] != ["-m", "pytest"] and words[0] not in ("cp", "test", "touch"):
                assert (pathlib.Path(sys.executable).parent / pathlib.Path(words[0]).name).exists()


def _filled(word: str) -> str:
    for pattern, value in PLACEHOLDERS.items():
        word = re.sub(pattern, value, word)
    return word


def _as_module(words: list[str]) -> list[str]:
    """`molphenix train` and `evaluate` as what they call."""
    modes = {"train": [], "evaluate": ["--mode=evaluate"]}
    if words[0] == "molphenix" and words[1] in modes and words[2:] not in ([], ["--help"]):
        return [*TRAIN, *modes[words[1]], *words[2:]]
    return words


def _field(word: str) -> str:
    return word.removeprefix("--config.").partition("=")[0]


def _has(config: Any, field: str) -> bool:
    for key in field.split("."):
        if not hasattr(config, "keys") or key not in config:
            return False
        config = config[key]
    return True


@contextlib.contextmanager
def _typed(arguments: list[str]) -> Iterator[Any]:
    """Arguments of main.py stand in flags and in sys.argv, where fields look for them."""
    before, sys.argv = sys.argv, [main.__file__, *arguments]
    saved = flagsaver.save_flag_values()
    # ml_collections would run a config file in the module of the one before.
    sys.modules.pop("config_config", None)
    try:
        main._parse_flags(sys.argv)
        yield flags.FLAGS.config
    finally:
        sys.argv = before
        flagsaver.restore_flag_values(saved)


def _end_well(run: Callable[[], Any]) -> None:
    try:
        status = run()
    except SystemExit as end:
        status = end.code
    assert not status, f"exit status {status}"


def _shrink(config: Any, words: list[str]) -> None:
    given = {_field(word) for word in words}
    fields = _EVERY | SMALL.get(config.task, {})
    fields |= {f: small.get(config.task, "") for f, small in LESS.items() if f not in given}
    if _has(config, "model.encoder.network") and config.model.encoder.network == "minimol":
        # It starts from weights, which have their size.
        fields = {f: v for f, v in fields.items() if f not in _ENCODER}
    if _has(config, "molecules.start_from"):
        # A copy of another training would not fit; tests/tasks/align/several starts from one.
        fields["molecules.start_from"] = ""
    if _has(config, "data.folds") and config.data.folds > 1:
        fields["data.folds"] = 2
    if config.get("loss", {}).get("execution") == "ring":
        fields["train.devices"] = 2
    with config.unlocked():
        config.update_from_flattened_dict({f: v for f, v in fields.items() if _has(config, f)})


def _program(config: Any) -> str:
    """What two configs have in common that train the same program on the same files."""
    module, fields = tasks.spec_of(config.task), {}
    for name, value in jax.tree_util.tree_leaves_with_path(plain(config)):
        field = ".".join(str(key.key) for key in name if hasattr(key, "key"))
        if field in module.paths and os.path.exists(str(value)):
            value = os.path.realpath(value)
        if not field.startswith((*_NUMBERS, *module.unused(config))):
            fields.setdefault(field, []).append(value)
    return json.dumps(fields, sort_keys=True)


def _build(config: Any, workdir: pathlib.Path) -> None:
    """Prepares data and model as a training does, and traces the loss of its first batch."""
    mesh = meshes.make_mesh(config.train.devices)
    run = tasks.make(config, mesh, workdir).run(0, workdir)
    place = getattr(run, "place_tables", lambda mesh: run.tables)
    jax.eval_shape(run.loss, run.shapes, run.batch(0), place(mesh), jax.random.key(0))


def _molphenix(words: list[str]) -> None:
    parsers = collect.subcommands()
    if words[0] == "COMMAND":
        for name, parser in parsers.items():
            assert parser.format_help(), name
        return
    if words[0] in parsers and all(
        re.fullmatch("--(?!help)[^=]*(=[A-Z/]+)?", word) for word in words[1:]
    ):
        # Prose names a command (`molphenix embed --layers=NAME`) with nothing of what it needs.
        named = {word.partition("=")[0] for word in words[1:]}
        assert named <= {*parsers[words[0]]._option_string_actions}, words
        return
    named, words = words, [*words, *small_options(words)]
    # A benchmark reads nothing of the reader's, and runs whole in a test of its own.
    if words[0] == "bench" and "--help" not in words:
        if len(named) > 2:  # prose names a benchmark with nothing of what it needs
            cli.make_parser().parse_args(words)
        test = collect.ROOT / "tests" / "bench" / f"test_bench_{words[1]}.py"
        assert f'"bench", "{words[1]}"' in test.read_text(), f"{test} does not run it"
        return
    if words[0] == "compile" and "--help" not in words:  # tests/pods runs it, which takes libtpu
        compile.read(words[1:])
        return
    _end_well(lambda: cli.main(words))


def small_options(words: list[str]) -> list[str]:
    """What is appended to a command of `molphenix`."""
    known = " ".join(words)
    fits = [name for name in OPTIONS if all(part in known for part in name.split(" --"))]
    return OPTIONS[max(fits, key=len)].split() if fits and "--help" not in words else []


def _check_installs(words: list[str]) -> None:
    """What is to be installed is this package with extras that it has, or a dependency of one."""
    with (collect.ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    known = {name for names in extras.values() for name in names} | {f".[{e}]" for e in extras}
    for word in words:
        assert word in ("-e", ".") or word in known, f"pip install {word}"


def lay_out(folder: pathlib.Path, files: pathlib.Path) -> None:
    """The repository's configs and the files of `files.write`, for one reader."""
    folder.mkdir()
    for file in (collect.ROOT / "configs", *files.iterdir()):
        (folder / file.name).symlink_to(file)
