"""Indexes without a model: random unit vectors in parts."""

import hashlib
import pathlib

import numpy as np
import pandas as pd

from molphenix_jax.retrieval.index import folder as folders


def vectors(*shape: int, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def manifest(*, doses=(1.0, 10.0), width=16, rows=1, library="library.csv", digest="d" * 64):
    return {
        "model": {"name": "runs/mine", "digest": digest},
        "featuriser": {"features": "2"},
        "doses_um": list(doses),
        "conditions": {},
        "width": width,
        "library": {"name": library, "rows": rows},
        "rejected": 0,
        "repeated": 0,
        "chunk_rows": 10**9,
    }


def molecules(keys) -> pd.DataFrame:
    """Molecules of these numbers; an InChIKey is made of the number."""
    keys = np.asarray(keys)
    return pd.DataFrame(
        {
            "id": [f"m{key}" for key in keys],
            "smiles": ["C" * (1 + key % 9) for key in keys],
            "inchikey": [f"KEY{key:024d}" for key in keys],
            "scaffold": ["" for _ in keys],
            "input_smiles": ["C" * (1 + key % 9) for key in keys],
            "row": keys + 1,
        }
    )


def write(
    index: pathlib.Path,
    z: np.ndarray,
    *,
    shards: int = 1,
    chunk: int = 10**9,
    library: str = "library.csv",
    number: int = 0,
    keys=None,
    only: int | None = None,
    **about,
) -> None:
    """An index of embeddings [n, k, d]: all shards of it, or one."""
    keys = np.arange(len(z)) if keys is None else np.asarray(keys)
    source = hashlib.sha256(library.encode()).hexdigest()
    told = manifest(width=z.shape[2], rows=len(z), library=library, **about)
    for shard in range(1, shards + 1) if only is None else [only]:
        start, stop = folders.shard_rows(len(z), shard, shards)
        chunks = -(-(stop - start) // chunk)
        for c in range(chunks):
            some = slice(start + c * chunk, min(start + (c + 1) * chunk, stop))
            folders.write_part(
                index,
                folders.Place(number, source, shard, shards, c, chunks),
                embeddings=z[some],
                molecules=molecules(keys[some]),
                rejected=pd.DataFrame(columns=list(folders.REJECTED_COLUMNS)),
                about=told,
            )
