"""An alignment model in its folder, and out of it: both sides, the correction, what was trained on.

Beside what every model folder holds:

    correction.npz      the batch correction of the training screen
    null_profiles.npz   corrected profiles of its control wells, a sample where there are many
    held_out.npz        profiles of perturbations that it has not learned from, a sample of many
    probe.npz           of a compact one: features of some molecules, see `probe`
    splits.csv          its molecules by InChIKey and SMILES, and which of them trained the model
"""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pandas as pd

from molphenix_jax.models import (
    CONCENTRATIONS,
    HEADS,
    ConcentrationEncoding,
    EncodedMolPhenix,
    MolPhenix,
    TowerConfig,
)
from molphenix_jax.models.mpnn import MPNNConfig
from molphenix_jax.models.resnet import ImageMolPhenix, ResNetConfig
from molphenix_jax.molecules import FINGERPRINTS, trained_encoders
from molphenix_jax.phenomics import CORRECTION_VERSION, Correction, NullProfiles
from molphenix_jax.storage import read_csv, write_csv
from molphenix_jax.trained.folder import (
    ModelError,
    ModelFolder,
    read_model,
    unreadable,
    with_tuples,
    write_model,
)
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.trained.probe import Probe
from molphenix_jax.trained.scaling import InputScaling
from molphenix_jax.trained.sides import ImageSide, MoleculeSide, PhenomicSide
from molphenix_jax.wells.conditions.values import Conditions

KIND = "alignment"
CORRECTION_FILE, NULL_FILE, SPLITS_FILE = "correction.npz", "null_profiles.npz", "splits.csv"
HELD_OUT_FILE, PROBE_FILE = "held_out.npz", "probe.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """A trained model of both sides with what was fitted for it.

    Attributes:
        params: [members, …].
        phenomic: From corrected profiles to z_x; of a model on images from these.
        molecular: From molecules at concentrations to z_m.
        block_widths: Columns of each feature block.
        feature_names: Features of a well, before correction, in order.
        correction: Fitted on the training screen.
        null: Control wells of the training screen.
        splits: Columns inchikey, smiles, split (train, validation, unseen_molecules), condition.
        about: The rest: `screen` (provenance, how doses were read), `featuriser`, `trained`.
        held_out: Of molecules that it has not learned from; None in folders of before.
        probe: What its molecule features have to be; None where their version has to be the same.
    """

    params: Any
    phenomic: PhenomicSide | ImageSide
    molecular: MoleculeSide
    block_widths: Mapping[str, int]
    feature_names: tuple[str, ...]
    correction: Correction
    null: NullProfiles
    splits: pd.DataFrame
    about: Mapping[str, Any]
    held_out: HeldOut | None = None
    probe: Probe | None = None


def write_alignment(
    folder: pathlib.Path,
    model: Alignment,
    *,
    config: Mapping[str, Any],
    more: Callable[[pathlib.Path], None] = lambda _: None,
) -> None:
    """Writes the folder of a model, in place of the one that is there.

    Args:
        folder: Where to.
        model: The model.
        config: Plain fields of the run's config.
        more: Writes further files into the (private) folder that it is given.

    Raises:
        StorageError: It cannot be written.
    """
    side, phenomic = model.molecular, model.phenomic
    arrays: dict[str, Any] = {"params": model.params["params"], "molecule": _of(side.scaling)}
    if isinstance(phenomic, ImageSide):
        arrays["image"] = {"mean": phenomic.mean, "std": phenomic.std}
    else:
        arrays["profile"] = _of(phenomic.scaling)
    about = {
        "phenomics": "images" if isinstance(phenomic, ImageSide) else "profiles",
        "network": _network(side),
        "encoder": dataclasses.asdict(side.encoder) if side.encoder else None,
        "blocks": dict(model.block_widths),
        "dose": dataclasses.asdict(side.dose),
        "conditions": side.conditions.as_json(),
        "feature_names": list(model.feature_names),
        "correction": {"method": model.correction.method, "version": CORRECTION_VERSION},
        **model.about,
    }

    def fill(private: pathlib.Path) -> None:
        model.correction.save(private / CORRECTION_FILE)
        model.null.save(private / NULL_FILE)
        if model.held_out is not None:
            model.held_out.save(private / HELD_OUT_FILE)
        if model.probe is not None:
            model.probe.save(private / PROBE_FILE)
        write_csv(private / SPLITS_FILE, model.splits)
        more(private)

    write_model(folder, kind=KIND, about=about, arrays=arrays, config=config, fill=fill)


def read_alignment(folder: pathlib.Path) -> tuple[ModelFolder, Alignment]:
    """Reads the folder of a model.

    Raises:
        ModelError: It is not there, damaged or of another kind.
    """
    found = read_model(folder, kind=KIND)
    try:
        return found, _alignment(found)
    except ModelError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise unreadable(folder, error) from error


def _alignment(found: ModelFolder) -> Alignment:
    about, arrays = dict(found.about), found.arrays
    told = about.pop("network")
    raw = told.get("molecule_encoder", "")
    network = _module(told, found.path)
    dose, encoder = about.pop("dose"), about.pop("encoder")
    blocks = about.pop("blocks")
    held_out, probe = found.path / HELD_OUT_FILE, found.path / PROBE_FILE
    _need(found.path, "encodes concentrations by", dose["kind"], CONCENTRATIONS)
    if about.pop("phenomics") == "images":
        phenomic = ImageSide(network, arrays["image"]["mean"], arrays["image"]["std"])
    else:
        phenomic = PhenomicSide(network, InputScaling(**arrays["profile"]))
    return Alignment(
        params={"params": arrays["params"]},
        phenomic=phenomic,
        molecular=MoleculeSide(
            network,
            tuple(sorted(blocks.keys() - {raw})),
            InputScaling(**arrays["molecule"]),
            ConcentrationEncoding(**{**dose, "grid_log10": tuple(dose["grid_log10"])}),
            Conditions.of_json(about.pop("conditions")),
            MPNNConfig(**with_tuples(encoder)) if encoder else None,
            raw,
            blocks[raw] if raw else 0,
        ),
        block_widths=blocks,
        feature_names=tuple(about.pop("feature_names")),
        correction=Correction.load(found.path / CORRECTION_FILE),
        null=NullProfiles.load(found.path / NULL_FILE),
        held_out=HeldOut.load(held_out) if held_out.exists() else None,
        probe=Probe.load(probe) if probe.exists() else None,
        splits=read_csv(found.path / SPLITS_FILE, dtype=str, keep_default_na=False),
        about=about,
    )


def _of(scaling: InputScaling) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in scaling._asdict().items()}


def _network(side: MoleculeSide) -> dict[str, Any]:
    """What makes the module again, as JSON types."""
    model = side.model
    told: dict[str, Any] = {
        "phenomics": dataclasses.asdict(model.phenomics),
        "molecules": dataclasses.asdict(model.molecules),
        "dim": model.dim,
        "dtype": jnp.dtype(model.dtype).name,
    }
    if isinstance(model, ImageMolPhenix):
        told["images"] = dataclasses.asdict(model.images)
    if side.raw:
        told |= {"molecule_encoder": side.raw, "raw_width": side.raw_width}
    return told


def _module(told: Mapping[str, Any], folder: pathlib.Path) -> MolPhenix:
    for tower in ("phenomics", "molecules"):
        _need(folder, "has the head", told[tower].get("head", "residual"), HEADS)
    fields: dict[str, Any] = {
        "phenomics": TowerConfig(**told["phenomics"]),
        "molecules": TowerConfig(**told["molecules"]),
        "dim": told["dim"],
        "dtype": jnp.dtype(told["dtype"]),
    }
    if "images" in told:
        return ImageMolPhenix(**fields, images=ResNetConfig(**with_tuples(told["images"])))
    if "molecule_encoder" not in told:
        return MolPhenix(**fields)
    name = told["molecule_encoder"]
    _need(folder, "has the molecule encoder", name, trained_encoders())
    network = cast(Any, FINGERPRINTS[name].network)
    return EncodedMolPhenix(**fields, encoder=network(), raw_width=told["raw_width"])


def _need(folder: pathlib.Path, what: str, name: str, parts: Collection[str]) -> None:
    """Stops where a part of the model comes from a plugin that was not imported."""
    if name not in parts:
        raise ModelError(
            f"{folder} {what} {name!r}, which is not registered: import the plugin that registers "
            "it first"
        )
