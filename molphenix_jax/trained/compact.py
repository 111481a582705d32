"""A model made small, to be given away.

Weights in half precision; of the correction what a plate with controls of its own needs, without
the statistics of the training plates; a sample of the control profiles. What it is used for is
computed in single precision.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from molphenix_jax.phenomics import Correction, NullProfiles
from molphenix_jax.trained.alignment import Alignment
from molphenix_jax.trained.probe import Probe
from molphenix_jax.trained.scaling import InputScaling
from molphenix_jax.trained.sides import ImageSide

NULL_PROFILES = 256
_LARGEST = float(np.finfo(np.float16).max)


def compact(model: Alignment) -> Alignment:
    """The same model in a fraction of the bytes, with a probe of its molecule features."""
    phenomic, side, held = model.phenomic, model.molecular, model.held_out
    if not isinstance(phenomic, ImageSide):
        phenomic = dataclasses.replace(phenomic, scaling=_scaling(phenomic.scaling))
    return dataclasses.replace(
        model,
        params=jax.tree.map(_half, model.params),
        phenomic=phenomic,
        molecular=dataclasses.replace(side, scaling=_scaling(side.scaling)),
        correction=_correction(model.correction),
        null=_sample(model.null),
        held_out=held and dataclasses.replace(held, profile=_half(held.profile)),
        probe=Probe.of(model.splits["smiles"].tolist(), side.taken),
    )


def _half(x: Any) -> np.ndarray:
    """In half precision, where that holds the largest number."""
    x = np.asarray(x)
    floating = np.issubdtype(x.dtype, np.floating)
    fits = floating and (not x.size or np.abs(x).max() < _LARGEST)
    return x.astype(np.float16) if fits else x


def _scaling(scaling: InputScaling) -> InputScaling:
    # Means and deviations are few, and of any size.
    return scaling._replace(rotation=_half(scaling.rotation))


def _correction(fitted: Correction) -> Correction:
    """Without its groups; what belongs to all controls together stays."""
    part = slice(int(fitted.coral_start[0]), int(fitted.coral_start[1]))
    return dataclasses.replace(
        fitted,
        center=fitted.center[:1].astype(np.float32),
        scale=fitted.scale[:1].astype(np.float32),
        rotation=_half(fitted.rotation),
        groups=(),
        stage=fitted.stage[:0],
        entry=fitted.entry[:0],
        group_center=fitted.group_center[:1].astype(np.float32),
        group_scale=fitted.group_scale[:1].astype(np.float32),
        coral_axes=_half(np.asarray(fitted.coral_axes[part])),
        coral_gain=fitted.coral_gain[part],
        coral_start=np.array([0, part.stop - part.start], np.int64),
    )


def _sample(null: NullProfiles) -> NullProfiles:
    n = len(null.profile)
    rows = np.sort(np.random.default_rng(0).permutation(n)[:NULL_PROFILES])
    return NullProfiles(_half(null.profile[rows]), null.group[rows], null.condition[rows])
