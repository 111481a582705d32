"""Images of the tiny built-in screen, so that image runs of size=tiny need no file.

A cell is a round spot at a random place. How many there are in a well, their size and their
brightness in each channel follow the well's profile: images of one treatment are alike, and nothing
else in them is.
"""

import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from molphenix_jax.simulated.effects import stream
from molphenix_jax.simulated.screen import TINY, simulate_wells
from molphenix_jax.storage import make_folder_once

SIMULATED = "simulated"  # the name that stands for these images where a file or layout is asked for
SIDE, CHANNELS, CELLS = 48, 2, 12
VERSION = 1  # of what is painted


class SimulatedImages(NamedTuple):
    """Files of the screen: wells, images [wells, channels, SIDE, SIDE] uint8, a row for each."""

    wells: pathlib.Path
    images: pathlib.Path
    index: pathlib.Path


def simulate_images(cache: pathlib.Path) -> SimulatedImages:
    """The tiny screen with an image of each well, made once in a cache folder."""
    folder = cache / f"simulated-images-{VERSION}"
    make_folder_once(folder, _write)
    return SimulatedImages(*(folder / name for name in _NAMES))


_NAMES = ("wells.parquet", "images.npz", "images_meta.csv")


def _write(folder: pathlib.Path) -> None:
    wells_path, _ = simulate_wells(TINY, folder)
    wells = pd.read_parquet(wells_path)
    profiles = np.stack(wells["embedding"].to_list())
    np.savez_compressed(folder / _NAMES[1], images=_paint(profiles))
    index = wells.drop(columns="embedding").assign(field=1, treatment=wells["smiles"])
    index.to_csv(folder / _NAMES[2], index=False)


def _paint(profiles: np.ndarray) -> np.ndarray:
    """[n, CHANNELS, SIDE, SIDE] uint8 of profiles [n, d]."""
    rng = stream(TINY.seed, "images")
    n = len(profiles)
    scaled = (profiles - profiles.mean(0)) / profiles.std(0)
    traits = np.tanh(scaled @ rng.normal(size=(profiles.shape[1], CHANNELS + 2)) / 4)
    brightness = 60 * np.exp(traits[:, :CHANNELS])
    radius = 3 * np.exp(0.5 * traits[:, CHANNELS, None, None])
    there = rng.random((n, CELLS)) < 0.6 + 0.35 * traits[:, -1:]
    # A round spot is a product of two profiles, one along each axis.
    y, x = (
        np.exp(-(((np.arange(SIDE) - rng.uniform(0, SIDE, (n, CELLS, 1))) / radius) ** 2))
        for _ in range(2)
    )
    cells = np.einsum("nk,nky,nkx->nyx", there, y, x)
    images = 20 + brightness[:, :, None, None] * cells[:, None]
    return np.clip(images + rng.normal(0, 4, images.shape), 0, 255).astype(np.uint8)
