"""A molecule side that starts where another run ended: first on public screens, then on one's own.

Taken over are the molecule head (and encoder) with the scaling of molecule features and the dose
encoding that it was trained with. New are the phenomic head, and what the molecule side is told of
the screen's own conditions.
"""

import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from molphenix_jax.molecules import FEATURISER_VERSION, encoder_versions
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.run import Run
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.splits import Split
from molphenix_jax.storage import new_folder
from molphenix_jax.tasks.align.training.assets import (
    MoleculeInputs,
    Start,
    own_encoder,
    scaled_blocks,
)
from molphenix_jax.tasks.molecule_encoder import PretrainedError, take_weights
from molphenix_jax.trained.alignment import read_alignment
from molphenix_jax.trained.finding import find_model
from molphenix_jax.trained.folder import MODEL_FILE, MODEL_FOLDER, SCREENS_FOLDER

# Of a run, the model that it started from: restarts and evaluations ask for the other run no more.
START_FOLDER = "start"
_PARTS = ("molecule_head", "encoder")
_SIDES = ["inchikey", "smiles", "split"]


def start_inputs(
    config: Config, screen: Screen, split: Split, *, fold: int, workdir: pathlib.Path
) -> MoleculeInputs | None:
    """What molecules and doses go in by where a run starts from another one; None where none does.

    Args:
        config: Of the run.
        screen: What is learned.
        split: Of the screen. What is held back here must be new to the other run as well.
        fold: Number of the split; of a run with folds, the model of the same one is taken.
        workdir: Folder of the fold; has the model once the run has begun.

    Raises:
        ModelError: There is no such model, or it is damaged.
        PretrainedError: Its molecule side takes something else than this run has.
        ScreenError: It was trained on molecules that are held back here.
    """
    named = config.molecules.start_from
    if not named:
        return None
    kept = workdir / START_FOLDER
    folder = kept if (kept / MODEL_FILE).exists() else _model_of(pathlib.Path(named), fold)
    _, model = read_alignment(folder)
    side, made_by = model.molecular, model.about.get("featuriser", {})
    blocks = (*scaled_blocks(config, screen), *filter(None, [own_encoder(config)]))
    for what, theirs, ours in (
        ("feature blocks", sorted(side.taken), sorted(blocks)),
        ("model.concentration", side.dose.kind, config.model.concentration),
        ("molecule features of version", made_by.get("features"), FEATURISER_VERSION),
        ("encoders of version", made_by.get("encoders", {}), encoder_versions(blocks)),
        ("a trained encoder", side.encoder is not None, config.molecules.encoder == "mpnn"),
    ):
        if theirs != ours:
            raise PretrainedError(
                f"molecules.start_from={named}: its molecule side has {what} {_told(theirs)}, this "
                f"run {_told(ours)}; train both alike"
            )
    table = model.splits
    trained = table.loc[table["split"] == "train", _SIDES]
    _need_new(named, trained, screen, split)
    n_conditions = side.conditions.encoded(side.conditions).shape[1]
    start = Start(named, folder, model.params, n_conditions, trained)
    return MoleculeInputs(side.scaling, side.dose, start)


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | dict) else str(value)


def _model_of(run: pathlib.Path, fold: int) -> pathlib.Path:
    """The model of a run: of its first screen, for the molecule side is one; of the same fold."""
    screens = sorted(run.glob(f"{SCREENS_FOLDER}/*/config.json"))
    place = screens[0].parent if screens else run
    folds = any(place.glob(f"fold_*/{MODEL_FOLDER}/{MODEL_FILE}"))
    return find_model(place, fold=fold if folds else None)


def _need_new(named: str, trained: pd.DataFrame, screen: Screen, split: Split) -> None:
    """Stops where molecules that are held back here, whatever their stereo, trained the start."""
    seen = set(trained["inchikey"].str[:14])
    held = np.unique(screen.molecule[np.concatenate([split.test, split.validation])])
    keys = screen.molecules["inchikey"].iloc[held].str[:14]
    known = screen.molecules["smiles"].iloc[held][keys.isin(seen)]
    if len(known):
        raise ScreenError(
            f"molecules.start_from={named} was trained on {len(known):,} of the {len(held):,} "
            f"molecules that are held back here, the first {known.iloc[0]!r}: they would not be "
            "unseen. Name all screens in data.wells of both runs, with one split, and leave this "
            "one out there by data.shares=NAME=0 (docs/screens.md)"
        )


def started(params: Any, start: Start, *, n_conditions: int) -> Any:
    """Initial parameters whose molecule side is that of another run.

    Args:
        params: Of an ordinary model, [members, …].
        start: Of the other run; where it has fewer members, they serve in turn.
        n_conditions: Rows at the end of the first layer for this screen's conditions, which stay.

    Raises:
        PretrainedError: The parameters do not fit; names each.
    """
    ours, theirs = params["params"], start.params["params"]
    n = len(jax.tree.leaves(ours["molecule_head"])[0])
    taken = {
        part: jax.tree.map(lambda leaf: jnp.asarray(leaf)[np.arange(n) % len(leaf)], theirs[part])
        for part in _PARTS
        if part in theirs
    }
    first = taken["molecule_head"]["project_in"]
    kernel, own = first["kernel"], ours["molecule_head"]["project_in"]["kernel"]
    kernel = kernel[:, : kernel.shape[1] - start.n_conditions]
    if kernel.shape[2] == own.shape[2]:  # or else it is named below
        kernel = jnp.concatenate([kernel, own[:, own.shape[1] - n_conditions :]], axis=1)
    taken["molecule_head"] = {
        **taken["molecule_head"],
        "project_in": {**first, "kernel": kernel},
    }
    wanted = {part: ours[part] for part in _PARTS if part in ours}
    return {**params, "params": {**ours, **take_weights(wanted, taken, source=start.named)}}


def need_fitting(run: Run, start: Start | None, *, members: int) -> None:
    """Stops, before anything is claimed or trained, where a run's start does not fit its model.

    Raises:
        PretrainedError: As `started`.
    """
    if start is None:
        return
    jax.eval_shape(
        run.start,
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), run.shapes
        ),
    )


def keep_start(start: Start, workdir: pathlib.Path) -> None:
    """Copies the model of a start into the folder of a run (of its fold), if it is not there."""
    folder = workdir / START_FOLDER
    if start.folder != folder:
        with new_folder(folder, replace=True) as private:
            shutil.copytree(start.folder, private, dirs_exist_ok=True)


def with_trained(splits: pd.DataFrame, start: Start) -> pd.DataFrame:
    """The sides of a run's molecules, and behind them those that trained its start alone."""
    others = start.molecules.drop_duplicates("inchikey")
    new = ~others["inchikey"].isin(splits["inchikey"])
    both = pd.concat([splits, others.iloc[np.flatnonzero(new)]], ignore_index=True)
    return both.fillna("")
