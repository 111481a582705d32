"""A small image screen whose images show the molecule: its size and its atoms."""

import pathlib

import numpy as np
import pandas as pd

SIZE, N_WELLS = 24, 4
RINGS = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccsc1", "C1CCNCC1", "c1ccoc1", "C1CCOC1", "n1ccnc1")
TAILS = ("C", "CC", "CCC", "CO", "CCCCO", "CCN")


def molecules() -> list[str]:
    """48 molecules of eight scaffolds."""
    return [f"{tail}{ring}" for ring in RINGS for tail in TAILS]


def write(folder: pathlib.Path) -> None:
    """images.npz [f, 2, 24, 24] and index.csv: 48 molecules, 12 controls a plate."""
    rng = np.random.default_rng(0)
    rows, images = [], []
    y, x = np.mgrid[:SIZE, :SIZE]
    names = molecules()
    for plate in range(N_WELLS):
        for i in range(len(names) + 12):
            treated = i < len(names)
            ring, tail = divmod(i, len(TAILS)) if treated else (0, 0)
            waves = np.sin(2 * np.pi * (ring + 1) * x / SIZE) if treated else 0 * x
            spot = 8.0 * np.exp(-((x - 12) ** 2 + (y - 12) ** 2) / (4 + 12 * tail))
            image = np.stack([60 + 50 * waves, 60 + 10 * spot * treated])
            image = image + rng.normal(0, 8, image.shape) + 5 * plate
            images.append(np.clip(image, 0, 255).astype(np.uint8))
            rows.append({"plate": f"P{plate}", "well": f"{'ABCDEF'[i // 12]}{i % 12 + 1}",
                         "field": 1, "smiles": names[i] if treated else "",
                         "concentration_um": 10 if treated else 0,
                         "is_control": not treated})  # fmt: skip
    np.savez_compressed(folder / "images.npz", images=np.stack(images))
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
