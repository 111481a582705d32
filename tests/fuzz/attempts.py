"""What the families of fuzz cases share: their seeds, damage to bytes, and what is written in CSV.

MOLPHENIX_FUZZ is how many cases each family has (its own number if not given), MOLPHENIX_FUZZ_SEED
the first seed (0); a failure names its own seed.
"""

import csv
import gzip
import io
import os
from collections.abc import Sequence

import numpy as np
import pytest

FIRST = int(os.environ.get("MOLPHENIX_FUZZ_SEED", "0"))


def seeds(count: int, *, often: int | None = None) -> pytest.MarkDecorator:
    """The cases of a family: `count` of them unless MOLPHENIX_FUZZ says otherwise.

    Those that follow the first `often`, if it is given, are `long`.
    """
    wanted = int(os.environ.get("MOLPHENIX_FUZZ", "0")) or count
    often = wanted if often is None else often
    return pytest.mark.parametrize(
        "seed",
        [
            pytest.param(FIRST + i, marks=[pytest.mark.long] if i >= often else [])
            for i in range(wanted)
        ],
    )


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes cut out, put in, or another beginning or end."""
    for _ in range(rng.integers(1, 4)):
        at, end = sorted(rng.integers(0, len(content) + 1, 2))
        end = min(end, at + int(rng.integers(1, 200)))
        put = bytes(rng.choice(list(b'",;\t\n\r\0\xff#= 0'), rng.integers(0, 4)).tolist())
        content = content[:at] + put + content[end:]
    return content[: rng.integers(len(content) + 1)] if rng.random() < 0.2 else content


def csv_bytes(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    sep: str = ",",
    encoding: str = "utf-8",
    above: str = "",
    packed: bool = False,
    quote_all: bool = False,
) -> bytes:
    """A CSV file of these texts."""
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=sep, lineterminator="\n", quoting=quoting)
    writer.writerows([header, *rows])
    content = (above + text.getvalue()).encode(encoding)
    return gzip.compress(content) if packed else content
