"""Unseen molecules by a list of one's own (`data.split_list`), as a publication's or another run's.

A table with a column of InChIKeys, SMILES, Bray2017's SAMPLE_KEY (PLATE-WELL-SITE), or whatever
else names a compound in the screen's own wells table. With a column `split` each molecule is on the
side that it says; without, all that are listed are unseen. What the screen has beside them trains.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import standardise
from molphenix_jax.screens.screen import Screen
from molphenix_jax.tables.columns import ALIASES, COMPOUND_NAMES, WellsError, normal, short
from molphenix_jax.tables.names import COMPOUND_KEYS, plate_key, well_key
from molphenix_jax.tables.text import read_text

TRAIN, VALIDATION, TEST = 0, 1, 2
UNLISTED = -1  # trains too, and may be drawn for validation where the list names none
# Words of the column `split`, compared without case and separators.
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "unseen", "unseenmolecules", "heldout"), TEST),
}
_NAMES = ("train", "validation", "test")
_SAMPLE_KEY = "samplekey"


class MoleculeListError(InputError):
    """A table that names no molecules of a screen; names file, columns and remedy."""


class SplitListError(MoleculeListError):
    """A list of molecules that no split can be made of; names file, row and remedy."""


def read_sides(path: pathlib.Path, screen: Screen) -> tuple[Int[np.ndarray, " m"], tuple[str, ...]]:
    """The side of each molecule of a screen, and what was found, in sentences.

    Args:
        path: CSV or Parquet.
        screen: Whose molecules are asked for.

    Raises:
        MoleculeListError: It has no usable column.
        SplitListError: The file cannot be read, names a side that there is none of, puts a molecule
            on two sides, or leaves none to test or to train.
    """
    try:
        table = read_text(path)
    except WellsError as error:
        raise SplitListError(f"data.split_list: {error}") from error
    sides = _told_sides(path, table)
    column, molecule = named_molecules(path, table, screen, field="data.split_list")
    side = np.full(len(screen.molecules), UNLISTED)
    first = np.zeros(len(side), np.int64)  # row that said so
    for row, m, told in zip(table.index, molecule, sides, strict=True):
        if m < 0:
            continue
        if side[m] not in (UNLISTED, told):
            raise SplitListError(
                f"data.split_list={path}: row {first[m]} says {_NAMES[side[m]]} and row {row} "
                f"{_NAMES[told]} of one molecule, {screen.molecules['smiles'].iloc[m]}: leave one "
                "of them out"
            )
        side[m], first[m] = told, first[m] or row
    n_test = int((side == TEST).sum())
    if not n_test or (side == TEST).all() or not (side <= TRAIN).any():
        have = f"{n_test:,} unseen" if (side >= 0).any() else "none"
        raise SplitListError(
            f"data.split_list={path}: of the screen's {len(side):,} molecules it has {have} "
            f"(column {column!r}: {short(table[column].tolist(), 3)}); some have to be unseen and "
            "some to train"
        )
    return side, tuple(_notes(path, table[column].to_numpy(), molecule, side, screen))


def _told_sides(path: pathlib.Path, table: pd.DataFrame) -> list[int]:
    named = [name for name in table.columns if normal(name) in ("split", "set", "subset")]
    if not named:
        return [TEST] * len(table)
    words = table[named[0]]
    sides = [_WORDS.get(normal(word)) for word in words]
    for row, word, side in zip(table.index, words, sides, strict=True):
        if side is None:
            raise SplitListError(
                f"data.split_list={path}, row {row}: {named[0]} is {word!r}, which is none of "
                "train, validation and test"
            )
    return [side for side in sides if side is not None]


def named_molecules(
    path: pathlib.Path, table: pd.DataFrame, screen: Screen, *, field: str
) -> tuple[str, Int[np.ndarray, " r"]]:
    """The column that names molecules, and the molecule of each row: -1 for none of the screen.

    Args:
        path: Of the table.
        table: Its cells as text.
        screen: Whose molecules are asked for.
        field: What names the table, for messages.

    Raises:
        MoleculeListError: No column names molecules.
    """
    by_name = {normal(name): name for name in table.columns[::-1]}
    if column := by_name.get("inchikey"):
        keys = screen.molecules["inchikey"].tolist()
        asked = [key.upper() for key in table[column]]
        return column, _look_up(asked, keys, range(len(keys)))
    smiles = next((by_name[alias] for alias in ALIASES["smiles"] if alias in by_name), None)
    if smiles:
        return smiles, _by_smiles(table[smiles].to_list(), screen)
    wells = screen.archive.wells
    of_well = np.repeat(screen.molecule, screen.n_replicates).tolist()
    if column := by_name.get(_SAMPLE_KEY):
        parts = [key.rsplit("-", 2) for key in table[column]]
        asked = [(plate_key(p[0]), well_key(p[1])) if len(p) == 3 else None for p in parts]
        if {"plate", "well"} <= set(wells.columns):
            places = zip(wells["plate"].astype(str), wells["well"].astype(str), strict=True)
            own = [(plate_key(plate), well_key(well)) for plate, well in places]
            return column, _look_up(asked, own, of_well)
    theirs = {normal(name): name for name in wells.columns}
    for plain, column in by_name.items():
        named = plain in (*COMPOUND_NAMES, *COMPOUND_KEYS)
        own = theirs.get(plain) or ("compound" if named and "compound" in theirs else None)
        if own and plain not in ("split", "set", "subset", "plate", "well", "batch", "row", "file"):
            names = [str(name).strip().casefold() for name in wells[own]]
            return column, _look_up([name.casefold() for name in table[column]], names, of_well)
    raise MoleculeListError(
        f"{field}={path}: no column names molecules, among {short(list(table.columns))}: "
        "inchikey, smiles, SAMPLE_KEY, or a compound's name or number that the wells table has too"
    )


def _look_up(asked: Sequence, own: Sequence, molecule: Sequence[int]) -> Int[np.ndarray, " r"]:
    at = dict(zip(own, molecule, strict=True))
    return np.array([at.get(key, -1) if key else -1 for key in asked], np.int64)


def _by_smiles(smiles: list[str], screen: Screen) -> Int[np.ndarray, " r"]:
    """Molecules of SMILES, by their standard form as the screen has it."""
    m = range(len(screen.molecules))
    found = _look_up(smiles, screen.molecules["smiles"].tolist(), m)
    rest = np.flatnonzero(found < 0)
    keys = standardise([smiles[row] for row in rest])["inchikey"]
    found[rest] = _look_up(keys.to_list(), screen.molecules["inchikey"].tolist(), m)
    return found


def _notes(
    path: pathlib.Path,
    names: np.ndarray,
    molecule: Int[np.ndarray, " r"],
    side: Int[np.ndarray, " m"],
    screen: Screen,
):
    counts = [f"{int((side == s).sum()):,} {name}" for s, name in enumerate(_NAMES)]
    unlisted = int((side == UNLISTED).sum())
    yield f"{path.name}: {', '.join(counts)}, and {unlisted:,} molecules not listed, which train"
    if unknown := list(dict.fromkeys(names[molecule < 0])):
        yield (
            f"{path.name}: {len(unknown):,} entries are no molecules of the screen: "
            f"{short([str(name) for name in unknown], 3)}"
        )
    known = molecule[molecule >= 0]
    if doubled := len(known) - len(np.unique(known)):
        yield f"{path.name}: {doubled:,} entries name a molecule again, on the same side"
    skeleton = screen.molecules["inchikey"].str[:14]
    unseen = set(skeleton[side == TEST])
    both = np.flatnonzero((side != TEST) & skeleton.isin(unseen).to_numpy())
    if len(both):
        yield (
            f"{path.name}: {len(both):,} molecules that are not unseen are stereoisomers of unseen "
            f"ones and stay where the list has them, such as "
            f"{screen.molecules['smiles'].iloc[both[0]]}: list them as unseen too, or they leak"
        )
