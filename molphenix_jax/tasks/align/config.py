"""Every field of an alignment run, with its default; `checks` says what they may hold."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from molphenix_jax.errors import InputError
from molphenix_jax.losses import LOSSES, S2L_PRESETS
from molphenix_jax.models import TowerConfig
from molphenix_jax.models.mpnn import mup_lr_rules
from molphenix_jax.molecules import FINGERPRINTS, is_embedding, trained_encoders
from molphenix_jax.runtime.config import Config, ConfigError, chosen, listed, parse_arg
from molphenix_jax.runtime.optimizer import train_fields
from molphenix_jax.runtime.processes import runtime_fields
from molphenix_jax.screens.builders import HEADER
from molphenix_jax.simulated.screen import TINY, SimulationConfig
from molphenix_jax.tasks.molecule_encoder import MINIMOL, encoder_fields, start_encoder
from molphenix_jax.tasks.named_screens import named_screens

COLUMNS = (
    "plate",
    "well",
    "batch",
    "site",
    "smiles",
    "concentration_um",
    "is_control",
    "embedding",
    "time_h",
    "cell_line",
)

# Fields that name files: one path, paths separated by commas, or name=PATH pairs.
PATHS = {
    "data.wells": "paths",
    "data.cache": "path",
    "molecules.embeddings": "named",
    "molecules.pretrained": "path",
    "molecules.start_from": "path",
    "eval.unseen_screens": "paths",
    "data.split_list": "path",
    "data.refit_of": "path",
    "data.simulated.molecules": "path",
}

# What turns a wells file into a screen; a screen that is prepared already has it behind it.
_PREPARING = (
    *("data.columns.", "data.concentration_unit", "data.features", "data.correction"),
    *("data.group_by", "data.conditions", "data.clip", "data.n_null"),
)


def encoders() -> tuple[str, ...]:
    """What trains beside the blocks: none, mpnn, or a registered encoder with a network."""
    return ("none", "mpnn", *trained_encoders())


# The preset of S2L whose soft positives exist on noisy screens of some thousand molecules, and the
# fields that it sets beside the loss's options (docs/method.md §12.8).
REPLICABLE = "replicable"
SOFT_POSITIVES = {"soft_share": 0.02, "replicate_correlation": 0.5}

# Heads as (width, residual blocks, principal components of the input; 0 takes the input as it is).
# "paper" has 38.7M parameters at 1,024 features of profiles and 4,263 bits (docs/method.md §4).
# "small" was chosen by scaffold on screens of 100 to 2,000 molecules, "few" by Butina cluster:
# docs/results.md, "What helped".
# "tiny" learns nothing: it shows in seconds that wells, molecules and fields go through.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "phenomics": (16, 1, 16),
        "molecules": (16, 1, 16),
        "dim": 8,
        "encoder": "tiny",
        "s2l": "small_screen",
        "train": {"steps": 6, "batch_size": 32, "learning_rate": 3e-3, "members": 1},
        "simulated": TINY,
        "fields": {"data.n_null": 200, "eval.n_bootstrap": 50},
    },
    # Of as many components as molecules the last ones tell single molecules apart and nothing else,
    # and what updates learn after the first hundred is the same: on unseen clusters both only harm.
    "few": {
        "phenomics": (128, 1, 64),
        "molecules": (128, 1, 32),
        "dim": 64,
        "encoder": "1m",
        "s2l": "small_screen",
        "train": {"steps": 100, "batch_size": 256, "learning_rate": 3e-3, "members": 5},
        "simulated": SimulationConfig(),
        "fields": {"data.psi": 1.0, "model.concentration": "log"},
    },
    "small": {
        "phenomics": (128, 1, 64),
        "molecules": (128, 1, 256),
        "dim": 64,
        "encoder": "1m",
        "s2l": "small_screen",
        "train": {"steps": 300, "batch_size": 256, "learning_rate": 3e-3, "members": 5},
        "simulated": SimulationConfig(),
        "fields": {},
    },
    "paper": {
        "phenomics": (1024, 6, 0),
        "molecules": (1232, 1, 0),
        "dim": 512,
        "encoder": "1m",
        "s2l": "fingerprint",
        "train": {"steps": 20_000, "batch_size": 512, "learning_rate": 5e-4, "members": 1},
        "simulated": SimulationConfig(),
        "fields": {},
    },
}


def default_config(*, wells: str = "", size: str = "small", encoder: str = "none") -> Config:
    """The config of an alignment run.

    Args:
        wells: Wells file; empty takes the built-in simulated screen.
        size: Preset of the head sizes, a key of `SIZES`.
        encoder: none, or mpnn or a registered one for a molecule encoder that learns beside the
            blocks.

    Raises:
        ConfigError: An unknown size or encoder.
    """
    preset = SIZES[chosen("size", size, SIZES)]
    chosen("encoder", encoder, encoders())
    c = ml_collections.ConfigDict()
    c.task = "align"
    c.seed = 0

    c.data = d = ml_collections.ConfigDict()
    # Files of one screen by commas; NAME=FILE begins one of several (tasks/named_screens.py).
    d.wells = wells
    # Shares of named screens in the pairs of a step, as NAME=NUMBER by commas; equal for those that
    # it leaves out. With 0 a screen takes part in the split alone.
    d.shares = ""
    d.cache = ""  # folder of prepared screens; empty: $MOLPHENIX_CACHE or the user's cache folder
    # Our column → the file's, e.g. --config.data.columns.smiles=SMI; empty finds it by name.
    d.columns = ml_collections.ConfigDict(dict.fromkeys(COLUMNS, ""))
    d.concentration_unit = ""  # of doses that name none: nM, µM, log10(M), …; empty asks the column
    d.features = ""  # regular expression over feature columns; empty chooses by rule
    d.correction = "tvn"  # none | centerscale | pca_cs | tvn
    d.group_by = "auto"  # what is corrected within: plate | batch | auto
    # Columns whose values part wells that are no replicates, by commas: auto finds time and cell
    # line. Where they vary, they are inputs of the molecule side.
    d.conditions = "auto"
    # Negative controls: auto, kinds to pool as dmso,untreated, or COLUMN=VALUE+VALUE.
    d.controls = "auto"
    d.clip = 10.0  # corrected features stay within ± this many control SDs; 0 switches it off
    d.n_null = 5_000
    d.psi = 0.1  # training pairs are active at p ≤ ψ
    d.undefined_p = "active"  # how training treats pairs without a p-value: active | inactive
    d.keep_inactive = 0.0  # share of the inactive pairs that each epoch still visits
    # Control: training perturbations have each other's molecules and doses, and nothing can be
    # learned of unseen ones.
    d.shuffle_pairs = False
    # What unseen molecules may not share with training ones: scaffold | butina | plate | batch.
    d.split = "scaffold"
    # Table of the molecules that are unseen, or of the side of each (`screens/split_lists.py`);
    # empty draws them by data.split. Validation molecules are drawn so where it names none.
    d.split_list = ""
    d.butina_cutoff = 0.4  # Tanimoto similarity that joins molecules into a cluster
    # Which molecules are held back, and the draws of the preparation; `seed` has initialisation and
    # batches, so that runs that differ in it alone are trained and judged on the same.
    d.split_seed = 0
    d.folds = 1
    # How often the folds are made, each time with the next split_seed; pooled like further folds.
    d.repeats = 1
    d.test_fraction = 0.2  # with folds=1
    d.validation_fraction = 0.1  # of what is not test
    d.unseen_images_fraction = 0.1  # training pairs half of whose wells are withheld
    # Finished run whose recall stands for this one: every pair trains, nothing is held back. Set by
    # `molphenix refit`.
    d.refit_of = ""
    # Where profiles and molecule features live: device | stream | auto (device where they fit).
    d.placement = "auto"
    d.device_memory_gib = 0.0  # memory of a device, for auto; 0 asks the device
    d.averaging = "random"  # random | full | single replicates in a training step
    d.max_replicates = 8
    d.simulated = ml_collections.ConfigDict(dataclasses.asdict(preset["simulated"]))

    c.molecules = m = ml_collections.ConfigDict()
    m.blocks = "morgan,maccs,rdkit,physchem"  # also morgan_chiral, which tells stereoisomers apart
    m.embeddings = ""  # precomputed blocks as name=FILE,name=FILE
    # Trained with the heads, its embedding beside the blocks: none | mpnn | one of your own.
    m.encoder = encoder
    m.pretrained = ""  # run or model that the encoder's weights are taken from
    # Finished run on other screens whose molecule side (head, encoder, scaling, dose encoding) this
    # one starts from, with a phenomic head of its own: docs/screens.md.
    m.start_from = ""
    m.max_atoms = 128  # of a molecule that the encoder takes

    c.model = h = ml_collections.ConfigDict()
    h.phenomics = _tower(*preset["phenomics"])
    h.molecules = _tower(*preset["molecules"])
    h.dim = preset["dim"]
    h.encoder = encoder_fields(preset["encoder"])  # used with molecules.encoder=mpnn
    h.concentration = "onehot"  # none | onehot | log | sigmoid, or one of your own
    h.scale_init = 10.0
    h.bias_init = 0.0  # 0: the logit of the mean target, -log(batch - 1); SigLIP takes -10

    c.loss = s = ml_collections.ConfigDict()
    s.name = "s2l"
    s.execution = "dense"  # dense | chunked | ring
    s.chunk_size = 0  # rows of a tile with chunked and ring; 0 chooses
    s.null_constant = (
        "squared"  # c: median of the squared distances, or "literal": of the distances
    )
    s.similarity_from = (
        "profile"  # w from the mean training profile, or from the "sample" of a step
    )
    # w from the directions alone in which two wells of a perturbation correlate by so much, in
    # units of the noise (phenomics/replicable.py); 0, or where there are none: from profiles as
    # they are.
    s.replicate_correlation = 0.0
    # Share of the pairs of different perturbations that S2L takes for similar: k is the quantile of
    # w that leaves so many, and the bias starts at the mean target with them; 0: k as the options
    # have it.
    s.soft_share = 0.0
    # Options of each loss that has any, e.g. --config.loss.options.s2l.gamma=1.75
    options = {name: dict(spec.options) for name, spec in LOSSES.items() if spec.options}
    options["s2l"].update(S2L_PRESETS[preset["s2l"]])
    s.options = ml_collections.ConfigDict(options)

    # Cosines of the members are averaged.
    c.train = train_fields(**preset["train"])
    if encoder == "mpnn":
        c.train.members = 1
        c.train.lr_rules = mup_lr_rules(h.encoder.width, prefix="/encoder")

    c.runtime = runtime_fields()
    c.eval = e = ml_collections.ConfigDict()
    e.unseen_screens = ""  # wells files, separated by commas
    e.heldout_concentrations = ()  # µM; no training pair has these doses
    e.psi = (0.01, 0.1)
    # Perturbations that leave less than this share of the controls' cells are toxic; where cells
    # were counted, active ones that are not are ranked by themselves. 0 does without.
    e.toxic_below = 0.5
    # Chance always stands beside them. Those of the second line are controls, which know no
    # chemistry; "untrained", the model before its first update, is a further one.
    e.baselines = "knn,ridge,physchem,dose_only,cell_count,magnitude,source_only"
    e.n_bootstrap = 1_000
    e.validation_pairs = 10_000  # ranked at each validation, at most
    c.update_from_flattened_dict(preset["fields"])
    return c


def config_from_arg(
    arg: str | None,
    *,
    loss: str,
    default: Callable[..., Config] = default_config,
    more: Sequence[str] = (),
) -> Config:
    """The config that a file in `configs/` stands for: the defaults with another loss.

    Args:
        arg: What follows the colon of `--config=configs/clip.py:wells=FILE,size=paper`: `wells`,
            `molecules`, `size`, `encoder` and `pretrained`, and with S2L also `preset` (see
            configs/s2l.py).
        loss: Name of the loss.
        default: Makes the defaults.
        more: Further arguments, texts that `default` takes.

    Raises:
        ConfigError: An argument that is unknown, of the wrong type or none of its choices.
        ModelError: The pretrained model cannot be read; MiniMol is not there yet.
    """
    texts: dict[str, str] = dict.fromkeys(
        ("encoder", "pretrained", *more, *(["preset"] if loss == "s2l" else [])), ""
    )
    args = parse_arg(arg, wells=(), molecules=(), size="small", **texts)
    pretrained, encoder = args.pretrained, args.encoder
    if encoder == MINIMOL:  # a network of the encoder mpnn, which starts from its own weights
        if pretrained:
            raise ConfigError(
                f"encoder=minimol starts from MiniMol's own weights: leave pretrained={pretrained} "
                "out, or leave encoder out, which it implies"
            )
        pretrained, encoder = MINIMOL, "mpnn"
    encoder = encoder or ("mpnn" if pretrained else "none")
    config = default(
        wells=",".join(args.wells),
        size=args.size,
        encoder=encoder,
        **{str(name): args[name] for name in more},
    )
    config.loss.name = loss
    _take_molecules(config, args.molecules)
    if pretrained:
        config.molecules.pretrained = start_encoder(config, pretrained, prefix="/encoder")
    preset = args.get("preset", "")
    if loss == "s2l" and not preset and args.size == "small":
        preset = REPLICABLE
    if preset:
        _take_preset(config, chosen("preset", preset, S2L_PRESETS))
    return config


def _take_preset(config: Config, name: str) -> None:
    """Sets what S2L takes for similar."""
    found = SOFT_POSITIVES if name == REPLICABLE else dict.fromkeys(SOFT_POSITIVES, 0.0)
    config.loss.update(found)
    config.loss.options.s2l.update({"null": "screen", **S2L_PRESETS[name]})


def _take_molecules(config: Config, names: Sequence[str]) -> None:
    """Puts the argument `molecules` into the fields: blocks, and embeddings as name=FILE.

    A baseline then stands beside the others that is told what knn, ridge and physchem are not.

    Raises:
        ConfigError: There is no such block.
    """
    if names:
        files = [name for name in names if "=" in name]
        blocks = [chosen("molecules", name, FINGERPRINTS) for name in names if "=" not in name]
        config.molecules.update(blocks=",".join(blocks), embeddings=",".join(files))
        if files or any(map(is_embedding, blocks)):
            config.eval.baselines = config.eval.baselines.replace(
                "physchem", "physchem,embedded", 1
            )


def _tower(width: int, n_blocks: int, components: int) -> Config:
    t = ml_collections.ConfigDict()
    t.head = "residual"  # or one of your own
    t.width = width
    t.n_blocks = n_blocks
    t.components = components  # principal components of the input; 0 takes it as it is
    t.whiten = 0.5  # of the components: 0 keeps their variances, 1 makes them equal
    t.input_dropout = 0.2
    t.dropout = 0.2
    return t


def distinct_names(paths: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names of files, those that recur behind as many of their folders as tell them apart.

    Args:
        paths: Of the files, no two the same.
        names: What they are called.
    """
    folders = [pathlib.Path(path).resolve().parent.parts for path in paths]
    found, depth = list(names), 0
    while len(set(found)) < len(found) and depth < max(map(len, folders)):
        depth += 1
        found = [
            "/".join([*of[-depth:], name]) if names.count(name) > 1 else name
            for of, name in zip(folders, names, strict=True)
        ]
    return found


def named_files(text: str) -> dict[str, str]:
    """The entries of a field `name=FILE,name=FILE`."""
    return {name: file for name, _, file in (entry.partition("=") for entry in listed(text))}


def simulation_config(c: Config) -> SimulationConfig:
    """The built-in screen that the config asks for.

    Raises:
        ConfigError: A field is none that a screen has; names it.
    """
    fields: dict[str, Any] = {}
    for name, value in c.data.simulated.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    try:
        return SimulationConfig(**fields)
    except InputError as error:
        raise ConfigError(f"data.simulated.{error}") from error


def input_blocks(c: Config) -> tuple[str, ...]:
    """The blocks that are computed for a run: those it names, and the input of its encoder."""
    own = [c.molecules.encoder] if c.molecules.encoder in trained_encoders() else []
    return (*listed(c.molecules.blocks), *own)


def loss_options(c: Config) -> dict[str, Any]:
    """The options of the loss that the config names."""
    return dict(c.loss.options.get(c.loss.name, {}))


def unused(c: Config) -> tuple[str, ...]:
    """Beginnings of the fields that a config makes no use of, whatever they say."""
    losses = (f"loss.options.{name}." for name in c.loss.options if name != c.loss.name)
    simulated = ("data.simulated.",) if c.data.wells else ()
    encoder = () if c.molecules.encoder == "mpnn" else ("model.encoder.",)
    screens = named_screens(c.data.wells).values() or [c.data.wells]
    prepared = all(of and (pathlib.Path(of) / HEADER).is_file() for of in screens)
    preparing = _PREPARING if prepared and not c.eval.unseen_screens else ()
    listed_molecules = ("data.test_fraction",) if c.data.split_list else ()
    return (*losses, *simulated, *encoder, *preparing, *listed_molecules)


def split_rule(c: Config) -> str:
    """What decides which molecules are unseen, in words."""
    return f"the list {pathlib.Path(c.data.split_list).name}" if c.data.split_list else c.data.split


def tower_config(t: Config) -> TowerConfig:
    """Size of a head from its fields in the config."""
    return TowerConfig(t.width, t.n_blocks, t.input_dropout, t.dropout, t.head)
