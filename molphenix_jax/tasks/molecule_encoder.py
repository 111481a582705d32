"""The molecule encoder as tasks use it: its config fields, its batches, its pretrained weights."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import pandas as pd

from molphenix_jax.errors import InputError
from molphenix_jax.models.mpnn import (
    ACTIVATIONS,
    NETWORKS,
    NORMS,
    POOLINGS,
    SIZES,
    MPNNConfig,
    mup_lr_rules,
)
from molphenix_jax.molecules import (
    FEATURISER_VERSION,
    FINGERPRINTS,
    encoder_versions,
    featurise,
)
from molphenix_jax.molecules.graphs import (
    EDGE_SIZES,
    NODE_SIZES,
    MolecularGraph,
    graphs_version,
    prepare_graphs,
)
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import Config, ConfigError, chosen
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.checkpointing import CHECKPOINTS, CheckpointError, Checkpoints
from molphenix_jax.runtime.workdir.folder import read_json
from molphenix_jax.storage import digest_texts, make_file_once, read_npz, write_json
from molphenix_jax.tasks.stored import anew_command, stored_config
from molphenix_jax.trained.encoders.minimol import NAME as MINIMOL
from molphenix_jax.trained.encoders.minimol import found_encoder, write_licence
from molphenix_jax.trained.encoders.molecule_encoder import (
    LoadedMoleculeEncoder,
    load_molecule_encoder,
)
from molphenix_jax.trained.folder import MODEL_FILE, MODEL_FOLDER

_POSITIONAL = ("rwse", "laplacian")
# Fields of an encoder that follow from the featuriser and the largest molecule.
_OF_GRAPHS = ("node_codes", "edge_codes", "attention_max_nodes")
# Learning rate of MiniMol's weights where they are trained on: heads that begin at random take some
# thirty times more, which would undo in a few updates what was learned. Not tuned.
_TUNING_RATE = 1e-4


FEATURISER_FILE = "featuriser.json"


class PretrainedError(InputError):
    """Pretrained weights that do not fit the encoder; names each that does not."""


def encoder_fields(size: str) -> Config:
    """The config part of an encoder of a named size.

    Raises:
        ConfigError: An unknown size.
    """
    m = ml_collections.ConfigDict(SIZES[chosen("size", size, SIZES)])
    m.expansion = 4
    m.activation = "gelu"  # relu | gelu
    m.norm = "layer"  # layer | graph
    m.virtual_node = True
    m.attention_heads = 0  # 0: no attention
    m.pooling = "sum"  # sum | mean
    m.dropout = 0.0
    m.edge_dropout = 0.0
    m.positional = _POSITIONAL
    m.remat = False
    m.network = "mpnn++"  # mpnn++ | minimol
    return m


def check_encoder(checks: Checks, field: str) -> None:
    """Notes what is wrong with an encoder's fields, which stand under `field`."""
    m = checks.value(field)
    for name, low in (("width", 2), ("depth", 1), ("out_width", 1), ("expansion", 1)):
        checks.least(f"{field}.{name}", low)
    checks.least(f"{field}.attention_heads", 0)
    checks.that(
        m.width % 2 == 0, f"{field}.width={m.width}: must be even, a bond has half the channels"
    )
    for name, options in (
        ("activation", ACTIVATIONS),
        ("norm", NORMS),
        ("pooling", POOLINGS),
        ("network", NETWORKS),
    ):
        checks.choice(f"{field}.{name}", options)
    checks.that(
        m.attention_heads <= 0 or m.width % m.attention_heads == 0,
        f"{field}.attention_heads={m.attention_heads} does not divide width={m.width}",
    )
    checks.deep(f"{field}.depth")
    # A layer has several products of this size, and the embedding's readout one.
    n = m.width**2 * m.depth * max(m.expansion, 1) + m.width * m.out_width
    checks.memory(f"{field}.width", f"training {n:,} parameters (depth={m.depth})", 16 * n)
    for name in ("dropout", "edge_dropout"):
        checks.within(f"{field}.{name}", 0, 1, below=True)
    checks.that(
        not set(m.positional) - set(_POSITIONAL),
        f"{field}.positional={tuple(m.positional)}: of {', '.join(_POSITIONAL)}",
    )


def encoder_config(m: Config, *, max_atoms: int) -> MPNNConfig:
    """The encoder that the fields describe, over the featuriser's vocabulary."""
    fields: Any = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in m.items()}
    return MPNNConfig(
        node_codes=NODE_SIZES, edge_codes=EDGE_SIZES, attention_max_nodes=max_atoms, **fields
    )


def graphs_of(
    smiles: Sequence[str], *, max_atoms: int, convention: str, cache: pathlib.Path
) -> tuple[list[MolecularGraph | None], pd.DataFrame]:
    """Graphs of molecules; None where there is none, and a row for each such with its reason."""
    store = prepare_graphs(smiles, cache=cache, max_atoms=max_atoms, convention=convention, say=say)
    return store.load(), store.rejected


def features_of(smiles: Sequence[str], block: str, *, cache: pathlib.Path) -> np.ndarray:
    """A feature block of molecules, computed once; see `molecules.featurise`."""
    bits, versions = FINGERPRINTS[block].bits, encoder_versions([block]).values()
    key = digest_texts([FEATURISER_VERSION, block, *versions, *smiles])[:16]
    path = cache / f"{block}-{key}.npz"

    def compute(private: pathlib.Path) -> None:
        values = featurise(smiles, block)
        packed = np.packbits(values, axis=1) if bits else values
        np.savez(private, values=packed, width=values.shape[1])

    make_file_once(path, compute, doing="computed", say=say)
    try:
        arrays = read_npz(path, ("values", "width"), what="saved features")
        values, width = arrays["values"], int(arrays["width"])
    except ValueError as error:
        raise PretrainedError(
            f"{path}: these cached features are damaged; delete that file, it is made again"
        ) from error
    return np.unpackbits(values, axis=1, count=width) if bits else values


def convention_of(config: Config) -> str:
    """The convention of the graphs that a run's encoder reads; runs of before say none."""
    return config.model.encoder.get("network", "mpnn++")


def write_featuriser(workdir: pathlib.Path, *, max_atoms: int, convention: str) -> None:
    """Keeps what made the graphs and features of a run beside it."""
    write_json(workdir / FEATURISER_FILE, featuriser_of(max_atoms=max_atoms, convention=convention))


def featuriser_of(*, max_atoms: int, convention: str) -> dict[str, Any]:
    """What makes graphs and features today, as JSON types."""
    made = {"graphs": graphs_version(convention), "features": FEATURISER_VERSION}
    return {**made, "max_atoms": max_atoms}


def need_same_featuriser(workdir: pathlib.Path, *, features: bool, convention: str) -> None:
    """Stops where a run that began before would get other graphs or features today.

    Args:
        workdir: Of the run.
        features: Whether it has feature blocks that are computed for it.
        convention: Of its graphs.

    Raises:
        PretrainedError: It would.
    """
    path = workdir / FEATURISER_FILE
    if not path.exists():
        return
    kept = _read_featuriser(path)
    graphs = graphs_version(convention)
    differing = [kept["graphs"]] if kept["graphs"] != graphs else []
    # Runs that do not say had features of the first version, by the RDKit of their graphs.
    was = kept.get("features", kept["graphs"])
    if features and not FEATURISER_VERSION.startswith(was):
        differing.append(was)
    if differing:
        raise PretrainedError(
            f"{workdir} was trained on molecules of featuriser {' and '.join(differing)}; this is "
            f"{graphs} and {FEATURISER_VERSION}, and the numbers would not be "
            f"the same. Train anew: {anew_command(workdir)}"
        )


def _read_featuriser(path: pathlib.Path) -> dict[str, Any]:
    kept = read_json(path)
    if not (isinstance(kept.get("graphs"), str) and isinstance(kept.get("max_atoms"), int)):
        raise PretrainedError(f"{path} is damaged: train anew in another --workdir")
    return kept


def load_encoder(
    run: pathlib.Path, *, checkpoint: int | None = None, member: int = 0
) -> LoadedMoleculeEncoder:
    """The encoder that a run trained.

    Args:
        run: A model folder, or that of a run of property pretraining or of an alignment with an
            MPNN encoder (of one fold of it, if it has several); or the name minimol.
        checkpoint: Step; None takes the finished model, or else the newest checkpoint.
        member: Of an ensemble.

    Raises:
        ConfigError: The folder is no run with an encoder.
        ModelError: The finished model cannot be used.
        PretrainedError: There is no checkpoint, it cannot be read, or graphs are not made today as
            they were for it.
    """
    run = found_encoder(run)
    if checkpoint is not None and (run / MODEL_FILE).exists():
        raise PretrainedError(
            f"{run} is a model folder, which has no checkpoints: leave checkpoint {checkpoint} out"
        )
    if checkpoint is None and any(
        (folder / MODEL_FILE).exists() for folder in (run, run / MODEL_FOLDER)
    ):
        return load_molecule_encoder(run, member=member)
    config, folder = _config_of(run), run / CHECKPOINTS
    try:
        with contextlib.closing(Checkpoints(folder, keep=None)) as checkpoints:
            steps = checkpoints.steps()
            if checkpoint is None and steps:
                checkpoint = steps[-1]
            if checkpoint not in steps:
                raise PretrainedError(
                    f"{folder} has no checkpoint {'' if checkpoint is None else checkpoint}; there "
                    f"are {steps}. Give the folder of a run (of one fold, if it has several)"
                )
            params = checkpoints.read_state(checkpoint)["params"]["params"]
    except CheckpointError as error:
        raise PretrainedError(str(error)) from error
    if "encoder" not in params:
        raise PretrainedError(f"{run}: its model has no molecule encoder")
    max_atoms = _checked_max_atoms(run, convention_of(config))
    return LoadedMoleculeEncoder(
        encoder_of(config, max_atoms=max_atoms),
        jax.tree.map(lambda x: np.asarray(x[member]), {"params": params["encoder"]}),
        max_atoms,
    )


def _checked_max_atoms(run: pathlib.Path, convention: str) -> int:
    """The largest molecule of a run whose graphs are made today as they were for it."""
    folder = next((f for f in (run, run.parent) if (f / FEATURISER_FILE).exists()), None)
    if folder is None:
        raise PretrainedError(f"{run / FEATURISER_FILE} is missing: was an encoder trained here?")
    need_same_featuriser(folder, features=False, convention=convention)
    return _read_featuriser(folder / FEATURISER_FILE)["max_atoms"]


def _config_of(run: pathlib.Path) -> Config:
    """The config beside the checkpoints, or one folder up (folds)."""
    for folder in (run, run.parent):
        if (folder / "config.json").exists():
            return stored_config(folder)
    raise ConfigError(f"{run / 'config.json'} is missing: is this the --workdir of a run?")


def encoder_fields_of(run: str) -> Config:
    """The encoder's fields of a run, for a config that starts from its weights.

    Args:
        run: Folder of a run or of a model, or the name minimol.

    Raises:
        ConfigError: The folder is no run with an encoder.
        ModelError: MiniMol is not there yet, or the model cannot be used.
    """
    folder = found_encoder(run)
    if (folder / MODEL_FILE).exists():
        sizes = dataclasses.asdict(load_molecule_encoder(folder).config)
        return ml_collections.ConfigDict(
            {name: value for name, value in sizes.items() if name not in _OF_GRAPHS}
        )
    config = _config_of(folder)
    if "encoder" not in config.model:
        raise ConfigError(f"{run} is a run without a molecule encoder")
    return config.model.encoder


def start_encoder(config: Config, run: str, *, prefix: str) -> str:
    """Gives a config the encoder's fields of a run that it starts from, and rates to train it on.

    Args:
        config: Its `model.encoder` and `train.lr_rules` are set.
        run: As of `encoder_fields_of`.
        prefix: Pattern of the path above the encoder's parameters.

    Returns:
        The folder, which holds whatever the current one is.

    Raises:
        ConfigError: As `encoder_fields_of`.
        ModelError: As `encoder_fields_of`.
    """
    fields = encoder_fields_of(run)
    config.model.encoder.update(fields)
    if fields.network == MINIMOL:
        factor = _TUNING_RATE / config.train.learning_rate
        config.train.lr_rules = ((prefix + "/", factor),)
    else:
        config.train.lr_rules = mup_lr_rules(fields.width, prefix=prefix)
    return str(found_encoder(run))


def licences_of(config: Config) -> Callable[[pathlib.Path], None]:
    """Writes, into a folder with a run's weights, the licence of those that they come from."""
    begun = config.get("molecules", config.model)
    carried = (begun.pretrained or begun.get("start_from")) and config.model.encoder.get(
        "network"
    ) == MINIMOL
    return write_licence if carried else lambda _: None


def encoder_of(config: Config, *, max_atoms: int) -> MPNNConfig:
    """The encoder of a run of property pretraining or of alignment, from the run's config."""
    return encoder_config(config.model.encoder, max_atoms=max_atoms)


def take_weights(ours: Any, theirs: Any, *, source: str) -> Any:
    """The pretrained weights, each checked against the parameter that it replaces.

    Args:
        ours: Parameters, or their shapes.
        theirs: Pretrained parameters.
        source: Named in errors.

    Raises:
        PretrainedError: Names every weight that is missing, left over or of another shape.
    """
    flat = [
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        }
        for tree in (ours, theirs)
    ]
    wrong = [f"{name}: not in the pretrained run" for name in sorted(flat[0].keys() - flat[1])]
    wrong += [f"{name}: has no place in this model" for name in sorted(flat[1].keys() - flat[0])]
    wrong += [
        f"{name}: {tuple(flat[1][name].shape)} there, {tuple(leaf.shape)} here"
        for name, leaf in flat[0].items()
        if name in flat[1] and tuple(flat[1][name].shape) != tuple(leaf.shape)
    ]
    if wrong:
        raise PretrainedError(
            f"the weights of {source} do not fit this model:\n  " + "\n  ".join(wrong)
        )
    return jax.tree.map(lambda _, w: w, ours, theirs)
