"""How large a table becomes: a small file may hold gigabytes of one value."""

import pathlib

from molphenix_jax.tables.columns import WellsError

# Times that a table may grow; tables of numbers pack 3 to 20 times.
MOST_PACKED = 500
# Bytes that any table may have, however small its file is.
ALWAYS = 1 << 30


def refuse_exploding(path: pathlib.Path, n_bytes: int) -> None:
    """Stops before a table is decoded whose size nobody expects from its file.

    Args:
        path: The file.
        n_bytes: Of the decoded table, as its header or metadata tells.

    Raises:
        WellsError: Names both sizes and the limit.
    """
    packed = path.stat().st_size
    if n_bytes > max(ALWAYS, MOST_PACKED * packed):
        raise WellsError(
            f"{path}: it unpacks to more than {MOST_PACKED} times its size ({_said(packed)} to at "
            f"least {_said(n_bytes)}): this is no table; write it anew"
        )


def _said(n_bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024 or unit == "GiB":
            break
        n_bytes = n_bytes // 1024
    return f"{n_bytes:,} {unit}"
