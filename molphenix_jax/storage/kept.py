"""Rows of numbers that are slow to compute, kept by the text that they were computed from.

A folder of parts, each with some texts and their rows, whole when it appears and never changed. Two
processes that compute the same at once both write: that costs space and changes nothing.
"""

import functools
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from molphenix_jax.storage.digests import digest_texts
from molphenix_jax.storage.files import StorageError, read_npz, write_npz

# A folder grows to so many rows (0.4 GB at a width of 512) and no further: a library of millions
# has its index and needs no second copy.
MOST_ROWS = 200_000
# Fewer new rows are computed again sooner than a file of their own is worth.
LEAST_ROWS = 16
_PART = re.compile(r"part-(\d+)-[0-9a-f]{16}\.npz")


def kept_rows(
    folder: pathlib.Path,
    texts: Sequence[str],
    compute: Callable[[list[str]], Float32[np.ndarray, "k w"]],
) -> Float32[np.ndarray, "n w"]:
    """The row of each text: from the folder, or computed and put there.

    Args:
        folder: Of rows that `compute` gives, and nothing else does: a version is part of its name.
        texts: What the rows are of; at least one.
        compute: Rows of texts that the folder lacks, each of them once.

    Raises:
        StorageError: The folder cannot be written, or a part of it is damaged.
    """
    distinct = list(dict.fromkeys(texts))
    found: dict[str, np.ndarray] = {}
    n_kept, wanted = 0, set(distinct)
    for path in sorted(folder.glob("part-*.npz")) if folder.is_dir() else ():
        named = _PART.fullmatch(path.name)
        if not named:
            continue
        n_kept += int(named[1])
        if own := wanted & _places(path).keys():
            rows = _read(path, "rows")
            found.update({text: rows[_places(path)[text]] for text in own})
    missing = [text for text in distinct if text not in found]
    if missing:
        rows = compute(missing)
        found.update(zip(missing, rows, strict=True))
        if len(missing) >= LEAST_ROWS and n_kept + len(missing) <= MOST_ROWS:
            path = folder / f"part-{len(missing)}-{digest_texts(missing)[:16]}.npz"
            write_npz(path, texts=np.array(missing), rows=rows)
    return np.stack([found[text] for text in texts])


@functools.lru_cache(maxsize=1_024)
def _places(path: pathlib.Path) -> dict[str, int]:
    """Which row of a part each text has."""
    return {str(text): row for row, text in enumerate(_read(path, "texts"))}


def _read(path: pathlib.Path, name: str) -> np.ndarray:
    try:
        return read_npz(path, [name], what="kept rows")[name]
    except (OSError, ValueError) as error:
        raise StorageError(f"{error}; delete that file, its rows are computed again") from error
