"""Wells to a screen: read → correct → group → p-value → molecule blocks, kept in a cache folder.

The cache key is a hash of everything the screen is computed from: the bytes of the source, the
parameters, the versions. A changed input is another key, so nothing stale is ever read.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from molphenix_jax.molecules import FEATURISER_VERSION, encoder_versions
from molphenix_jax.screens.builders import FORMAT_VERSION, HEADER
from molphenix_jax.screens.preparing.pipeline import PrepareConfig, prepare_screen
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.store import open_screen
from molphenix_jax.screens.versions import (
    Trained,
    current_versions,
    need_current,
    other_inputs,
    other_versions,
)
from molphenix_jax.simulated.screen import SimulationConfig, simulate_wells
from molphenix_jax.storage import digest_file, digest_json, make_folder_once
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.inputs.layouts import stored_layout
from molphenix_jax.wells.inputs.sources import Sources

__all__ = [
    "PrepareConfig",
    "prepare",
    "prepare_simulated",
    "what_would_be_done",
]


def prepare(
    path: str | pathlib.Path | Sources,
    config: PrepareConfig,
    *,
    cache: pathlib.Path,
    name: str = "",
    truth_path: pathlib.Path | None = None,
    reference: Screen | None = None,
    trained: Trained | None = None,
    folder: pathlib.Path | None = None,
    beam_options: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Screen:
    """Prepares wells, or opens the result of an earlier call with the same inputs.

    Args:
        path: Wells table, Parquet or CSV; several files as `Sources`, or by commas (see
            `Sources.of`); or the folder of a screen that is prepared already, which keeps the
            parameters that it was prepared with.
        config: Parameters.
        cache: Folder of prepared screens.
        name: Short name of the screen; empty takes the file's.
        truth_path: Wells table with the same rows whose embeddings hold no replicate noise
            (simulated screens); corrected with the same statistics.
        reference: The training screen, when this one is an unseen screen: its global correction
            stage and its features are taken over, so that both lie in the same space.
        trained: The screen of the run that asks, when it was trained before: the same comes back,
            or none.
        folder: Where to put the screen; None chooses a folder in the cache by the inputs.
        beam_options: Pipeline options of Beam; none mean this process.
        say: Is told, sentence by sentence, what is being done.

    Raises:
        WellsError: The file has no usable row, or lacks features of the reference.
        ScreenError: A prepared folder lacks a molecule block, `folder` holds another screen, or
            what was prepared by another version would have to be computed again.
    """
    if isinstance(path, str | pathlib.Path) and (pathlib.Path(path) / HEADER).is_file():
        return _open_prepared(pathlib.Path(path), config, reference, say)
    sources = Sources.of(path, config.columns)
    name = name or sources.tables[0].stem
    provenance = _provenance(sources, config, truth_path, reference)
    if reference:
        need_current(
            reference.provenance,
            what=f"the training screen that {name} has to match",
            remedy="Prepare the training screen anew with `molphenix prepare` and train on it, or "
            "leave the other screen out (eval.unseen_screens=)",
        )
    if trained:
        if changed := other_inputs(trained.provenance, provenance):
            raise ScreenError(
                f"{sources} and its parameters are not what this run was trained on "
                f"({', '.join(changed)} differ); put the old file back, or train anew: "
                f"{trained.anew}"
            )
        kept = cache / _folder_name(name, trained.provenance)
        if folder is None and kept.exists():
            say(f"prepared screen found in {kept}")
            return open_screen(kept)
        need_current(
            trained.provenance,
            what=f"the screen that this run was trained on is gone from {cache}; it",
            remedy=f"Train anew: {trained.anew}",
        )
    folder = folder or cache / _folder_name(name, provenance)
    if sources.doubt:
        say(f"- {sources.doubt}")
    try:
        made = make_folder_once(
            folder,
            lambda private: prepare_screen(
                sources,
                config,
                private,
                name=name,
                provenance=provenance,
                truth_path=truth_path,
                reference=reference,
                beam_options=beam_options,
                say=say,
            ),
            doing="prepared",
            say=say,
        )
    except WellsError as error:
        if not sources.doubt:
            raise
        raise WellsError(f"{error}\n{sources.doubt}") from error
    screen = _opened(folder, provenance)
    say(f"prepared screen {'kept' if made else 'found'} in {folder}")
    return screen


def what_would_be_done(
    folder: pathlib.Path,
    sources: Sources,
    config: PrepareConfig,
    *,
    reference: Screen | None = None,
) -> str:
    """What `prepare` would do with a folder, in words.

    Raises:
        ScreenError: It would stop, since another screen lies there, or something else.
    """
    if not folder.exists():
        return f"the screen would be written to {folder}"
    _opened(folder, _provenance(sources, config, None, reference))
    return f"{folder} holds this screen already: nothing would be prepared"


def _opened(folder: pathlib.Path, provenance: Mapping[str, Any]) -> Screen:
    """The screen in a folder, if it is the one of these inputs."""
    if not (folder / HEADER).is_file():
        raise ScreenError(
            f"{folder} is there and is no prepared screen (no {HEADER}); choose another folder, or "
            "delete that folder"
        )
    screen = open_screen(folder)
    if other_versions(screen.provenance) or other_inputs(screen.provenance, provenance):
        raise ScreenError(
            f"{folder} holds a screen from other files or parameters; choose another folder, "
            "or delete this one"
        )
    return screen


def _provenance(
    sources: Sources,
    config: PrepareConfig,
    truth_path: pathlib.Path | None,
    reference: Screen | None,
) -> dict[str, Any]:
    """What a screen is computed from."""
    provenance = {
        "format": FORMAT_VERSION,
        "source": [source.name for source in sources.files],
        "source_sha256": [_sha256(source) for source in sources.files],
        "layout": stored_layout(sources.layout),
        **current_versions(),
        "parameters": {
            **dataclasses.asdict(config),
            "columns": dict(config.columns),
            "embeddings": {n: pathlib.Path(f).name for n, f in config.embeddings.items()},
        },
        "embeddings_sha256": {n: _sha256(pathlib.Path(f)) for n, f in config.embeddings.items()},
        "truth_sha256": _sha256(truth_path) if truth_path else None,
        "reference": reference.provenance if reference else None,
    }
    if versions := encoder_versions(config.blocks):
        provenance["parameters"]["molecule_encoders"] = versions
    return json.loads(json.dumps(provenance))


def _folder_name(name: str, provenance: Mapping[str, Any]) -> str:
    return f"{name}-{digest_json(provenance)[:16]}"


def _open_prepared(
    folder: pathlib.Path,
    config: PrepareConfig,
    reference: Screen | None,
    say: Callable[[str], None],
) -> Screen:
    """A screen that `molphenix prepare` made, as it is."""
    screen = open_screen(folder)
    if reference and screen.provenance["reference"] != reference.provenance:
        raise ScreenError(
            f"{folder} was not prepared to match this training screen: give the wells file that it "
            "was made from, or prepare it with --reference"
        )
    screen = screen.taking((*config.blocks, *config.embeddings))
    say(f"prepared screen {folder}: its correction and p-values are those it was prepared with")
    return screen


def prepare_simulated(
    simulation: SimulationConfig,
    config: PrepareConfig,
    *,
    cache: pathlib.Path,
    trained: Trained | None = None,
    folder: pathlib.Path | None = None,
    beam_options: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Screen:
    """Simulates the built-in screen (once per configuration) and prepares it like any other."""
    # Format 1 wrote the two files one after the other, and a kill left one of them, or half of it.
    # Which of the shipped molecules are usable, and their form, depends on the featuriser.
    versions = {"format": 2, "featuriser": FEATURISER_VERSION}
    told = dataclasses.asdict(simulation)
    if file := told.pop("molecules"):
        told["molecules"] = _sha256(pathlib.Path(file))
    key = digest_json({**versions, **told})[:16]
    simulated = cache / f"simulated-wells-{key}"

    def simulate(private: pathlib.Path) -> None:
        say("simulating the built-in screen")
        simulate_wells(simulation, private)

    make_folder_once(simulated, simulate, doing="simulated", say=say)
    return prepare(
        simulated / "wells.parquet",
        config,
        cache=cache,
        name="simulated",
        truth_path=simulated / "truth.parquet",
        trained=trained,
        folder=folder,
        beam_options=beam_options,
        say=say,
    )


def _sha256(path: pathlib.Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise WellsError(f"{path} cannot be read: {error.strerror}") from error
