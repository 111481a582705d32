"""The smallest property-pretraining run: 60 drugs, a few labels, a few updates."""

import pathlib

import numpy as np
import pandas as pd

from molphenix_jax.molecules import descriptors, shipped_smiles, standardise
from molphenix_jax.molecules.graphs import featurise_graphs
from molphenix_jax.runtime.config import Config
from molphenix_jax.tasks.property_pretraining import default_config

FIELDS = {
    "model.encoder.width": 16,
    "model.encoder.depth": 1,
    "model.encoder.out_width": 16,
    "model.encoder.expansion": 2,
    "model.head_width": 8,
    "train.steps": 4,
    "train.warmup_steps": 1,
    "train.devices": 1,
    "train.batch_size": 16,
    "train.log_every": 1,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
    "train.lr_rules": (),
    "eval.n_bootstrap": 20,
    "eval.baselines": "physchem_linear",
}


def table(path: pathlib.Path, *, with_atoms: bool = True) -> pathlib.Path:
    """Writes labels of every kind, with gaps; label `soluble` follows from the structure."""
    smiles = list(dict.fromkeys(standardise(shipped_smiles()[:140])["smiles"].dropna()))
    graphs, _ = featurise_graphs(smiles, max_atoms=30)
    kept = [i for i, graph in enumerate(graphs) if graph is not None][:60]
    smiles = [smiles[i] for i in kept]
    logp = descriptors(smiles, names=("MolLogP",))[:, 0]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "smiles": smiles,
            "soluble": (logp < np.median(logp)).astype(float),
            "logp": logp,
            "bracket": rng.integers(0, 3, len(smiles)),
        }
    )
    frame.loc[::5, "soluble"] = np.nan
    if with_atoms:
        frame["atom_degree"] = [
            graphs[i].nodes[:, 4].astype(float)
            for i in kept  # pyright: ignore
        ]
    frame.to_parquet(path)
    return path


def config(labels: pathlib.Path, cache: pathlib.Path, **changes) -> Config:
    """The tiny config; `changes` are fields with `__` in place of the dots."""
    c = default_config(labels=str(labels))
    fields = {**FIELDS, "data.cache": str(cache)}
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    c.update_from_flattened_dict(fields)
    return c
