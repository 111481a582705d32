"""How several screens are named in a config: `data.wells` and `data.shares`.

An entry NAME=FILE begins a screen of that name, and entries without a name behind it are further
files of the same screen. Where no entry has a name, all are the files of one screen.
"""

import pathlib
import re

from molphenix_jax.runtime.config import Config, ConfigError, listed

_NAMED = re.compile(r"([A-Za-z]\w*(?:-\w+)*)=(.+)")


def named_entry(entry: str) -> tuple[str, str]:
    """Name and file of an entry of `data.wells`; "" for the name of one that has none.

    A file that is there and whose name holds an equals sign is no name.
    """
    found = _NAMED.fullmatch(entry)
    return (found[1], found[2]) if found and not pathlib.Path(entry).exists() else ("", entry)


def named_screens(wells: str) -> dict[str, str]:
    """The files of each screen by its name, joined by commas; empty where there is one screen.

    Raises:
        ConfigError: Two screens have one name, or the first has none.
    """
    entries = [named_entry(entry) for entry in listed(wells)]
    if pathlib.Path(wells).exists() or not any(name for name, _ in entries):
        return {}
    if not entries[0][0]:
        raise ConfigError(
            f"data.wells: {entries[0][1]} has no name and others have: give each screen one, as in "
            f"first={entries[0][1]}"
        )
    found: dict[str, str] = {}
    name = ""
    for named, file in entries:
        if named and named in found:
            raise ConfigError(
                f"data.wells: two screens are called {named}; give the second another name, or "
                f"leave {named}= out before further files of the first"
            )
        name = named or name
        found[name] = ",".join(filter(None, (found.get(name), file)))
    return found


def shares_of(config: Config) -> dict[str, float]:
    """The share of a step's pairs that each named screen has; together 1.

    Raises:
        ConfigError: `data.shares` names another screen, or what is no share.
    """
    screens = named_screens(config.data.wells)
    shares = dict.fromkeys(screens, 1.0)
    for entry in listed(config.data.shares):
        name, _, text = entry.partition("=")
        if name not in screens:
            raise ConfigError(
                f"data.shares: {name!r} is none of the screens of data.wells "
                f"({', '.join(screens) or 'which names none: wells=NAME=FILE+NAME=FILE'})"
            )
        try:
            shares[name] = float(text)
        except ValueError as error:
            raise ConfigError(f"data.shares: {entry!r} is no NAME=NUMBER") from error
        if not 0 <= shares[name] < float("inf"):
            raise ConfigError(f"data.shares: {entry!r}: from 0 (takes part in the split alone)")
    total = sum(shares.values())
    if screens and not total:
        raise ConfigError("data.shares: every screen has 0, and none is left to learn from")
    return {name: share / total for name, share in shares.items()}


def rows_of(config: Config) -> dict[str, int]:
    """Pairs of each screen in a step: its share of `train.batch_size`.

    Raises:
        ConfigError: A share is less than the two pairs that a contrastive loss needs.
    """
    rows = {name: int(config.train.batch_size * s + 1e-9) for name, s in shares_of(config).items()}
    for name, share in shares_of(config).items():
        if share and rows[name] < 2:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size} leaves {rows[name]} pairs of {name} "
                f"in a step ({share:.1%}): raise it, or the share of {name} in data.shares"
            )
    return rows
