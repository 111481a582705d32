"""An alignment made from its config: screens prepared, molecules grouped, sides by a list."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Int

from molphenix_jax import storage
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import read_json
from molphenix_jax.screens.builders import HEADER
from molphenix_jax.screens.prepare import (
    PrepareConfig,
    prepare,
    prepare_simulated,
)
from molphenix_jax.screens.screen import Screen
from molphenix_jax.screens.split_lists import read_sides
from molphenix_jax.screens.splits import groups_across
from molphenix_jax.screens.store import open_screen
from molphenix_jax.screens.versions import Trained, need_same
from molphenix_jax.tasks.align.config import (
    distinct_names,
    input_blocks,
    listed,
    named_files,
    simulation_config,
)
from molphenix_jax.tasks.align.evaluation import BaselineInputs, other_conditions
from molphenix_jax.tasks.align.task import READ_FIELDS, SCREEN_FILE, AlignTask
from molphenix_jax.tasks.stored import anew_command


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> AlignTask:
    """Prepares the screen of `data.wells` (or the built-in one) and the unseen screens.

    Where the workdir holds a run already, the screen that it was trained on is asked for.

    Raises:
        WellsError: A wells file without a usable row.
        ScreenError: An unseen screen with other features.
    """
    d = config.data
    options = PrepareConfig(
        columns={ours: theirs for ours, theirs in d.columns.items() if theirs},
        features=d.features,
        correction=d.correction,
        group_by=d.group_by,
        conditions=d.conditions,
        controls=d.controls,
        clip=d.clip,
        n_null=d.n_null,
        blocks=input_blocks(config),
        embeddings=named_files(config.molecules.embeddings),
        seed=d.split_seed,
        concentration_unit=d.concentration_unit,
    )
    cache, trained = storage.cache_folder(d.cache), _trained(workdir)
    if d.refit_of and trained is None:
        trained = _trained(pathlib.Path(d.refit_of))
    if d.wells and (pathlib.Path(d.wells) / HEADER).is_file():
        screen = open_screen(d.wells).taking((*options.blocks, *options.embeddings))
        if trained:
            need_same(trained, screen.provenance, what=d.wells)
        return _task(config, screen, options, mesh)
    if d.wells:
        screen = prepare(d.wells, options, cache=cache, trained=trained, say=say)
    else:
        simulation = simulation_config(config)
        screen = prepare_simulated(simulation, options, cache=cache, trained=trained, say=say)
    return _task(config, screen.in_memory(), options, mesh)


def _trained(workdir: pathlib.Path) -> Trained | None:
    """The screen of a run that has begun before."""
    path = workdir / SCREEN_FILE
    if not path.exists():
        return None
    told = read_json(path)
    provenance = {name: value for name, value in told.items() if name not in READ_FIELDS}
    return Trained(provenance, anew_command(workdir))


def _task(
    config: Config,
    screen: Screen,
    options: PrepareConfig,
    mesh: jax.sharding.Mesh,
) -> AlignTask:
    """The task on a screen, with the unseen screens prepared as that one was."""
    _describe(screen)
    d = config.data
    cache = storage.cache_folder(d.cache)
    unseen, paths = {}, list(dict.fromkeys(listed(config.eval.unseen_screens)))
    names: list[str] = []
    for path in paths:
        other = prepare(path, options, cache=cache, reference=screen, say=say).in_memory()
        for note in other.notes:
            say(f"- {other.name}: {note}")
        for sentence in other_conditions(screen, other):
            say(f"- {other.name}: {sentence}")
        unseen[path] = other
        names.append(other.name)
    unseen = dict(zip(distinct_names(paths, names), unseen.values(), strict=True))
    sides = None
    if d.split_list:
        sides, sentences = read_sides(pathlib.Path(d.split_list), screen)
        for sentence in sentences:
            say(f"- {sentence}")
    together = split_together([screen], config, [sides])
    return AlignTask(config, screen, unseen, together, mesh, BaselineInputs())


def split_together(
    screens: Sequence[Screen],
    config: Config,
    sides: Sequence[Int[np.ndarray, " _"] | None],
) -> tuple[tuple[Screen, Int[np.ndarray, " m"], Int[np.ndarray, " m"] | None], ...]:
    """Screens with the groups of their molecules and their listed sides, for `AlignTask.together`.

    Args:
        screens: All that are split at once.
        config: Of the run.
        sides: Of the molecules of each, by `data.split_list`; None without a list.
    """
    d = config.data
    groups = groups_across(screens, method=d.split, butina_cutoff=d.butina_cutoff)
    return tuple(zip(screens, groups, sides, strict=True))


def _describe(screen: Screen) -> None:
    """Says what the screen holds and what was decided."""
    for note in screen.notes:
        say(f"- {note}")
    doses = np.unique(screen.concentration_um)
    several = f" under {len(screen.conditions)} conditions" if len(screen.conditions) > 1 else ""
    say(
        f"screen {screen.name}: {screen.n_wells:,} treated wells, "
        f"{screen.n_perturbations:,} perturbations of {len(screen.molecules):,} molecules at "
        f"{len(doses)} doses ({doses[0]:g} to {doses[-1]:g} µM){several}"
    )
