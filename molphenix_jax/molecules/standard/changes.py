"""What standardising did to the structures of a table, in sentences."""

import collections

import pandas as pd
from rdkit import Chem, rdBase

_SHOWN = 3
_NAMES = 8


def describe_changes(table: pd.DataFrame) -> list[str]:
    """Which parts were left out, and which different structures became one molecule.

    Args:
        table: what `standardise` gives for different texts, with these in a further column `given`.

    Returns:
        One sentence for each that happened.
    """
    usable = pd.DataFrame(table[table["error"].isna()])
    return [*_left_out(usable), *_merged(usable)]


def _left_out(usable: pd.DataFrame) -> list[str]:
    changed = [names for names in usable["left_out"] if names]
    if not changed:
        return []
    count = collections.Counter(name for names in changed for name in names)
    shown = ", ".join(f"{name} ({n:,})" for name, n in count.most_common(_NAMES))
    more = f" and {len(count) - _NAMES} more kinds" if len(count) > _NAMES else ""
    return [
        f"counter-ions and solvents are no part of a molecule: left out of {len(changed):,} of "
        f"{len(usable):,} structures: {shown}{more}"
    ]


def _merged(usable: pd.DataFrame) -> list[str]:
    several = pd.DataFrame(usable[usable.duplicated("inchikey", keep=False)])
    given: dict[str, list[str]] = {}
    form: dict[str, str] = {}
    for key, smiles, text in zip(
        several["inchikey"], several["smiles"], several["given"], strict=True
    ):
        given.setdefault(key, []).append(text)
        form.setdefault(key, smiles)
    found: list[tuple[str, list[str]]] = []
    why = "salts, charges, tautomers"
    with rdBase.BlockLogs():
        for key, texts in given.items():
            # One structure may be written in many ways; only different ones are worth a word.
            drawn = {_drawn(text): text for text in texts}
            if len(drawn) > 1:
                found.append((form[key], list(drawn.values())))
            if len({_drawn(text, stereo=False) for text in texts}) < len(drawn):
                why = "salts, charges, tautomers, stereo that InChIKeys lack, as at a metal"
    if not found:
        return []
    examples = [
        f"{', '.join(given[:_SHOWN])}{', …' if len(given) > _SHOWN else ''} became {smiles}"
        for smiles, given in found[:_SHOWN]
    ]
    n = sum(len(given) for _, given in found)
    return [
        f"{n:,} different structures ({why}) became {len(found):,} molecules, "
        f"and their wells replicates: {'; '.join(examples)}{'; …' if len(found) > _SHOWN else ''}"
    ]


def _drawn(text: str, *, stereo: bool = True) -> str:
    """The canonical SMILES of all that is drawn, with or without its stereo."""
    mol = Chem.MolFromSmiles(text.strip().split("|")[0].split()[0])
    return text if mol is None else Chem.MolToSmiles(mol, isomericSmiles=stereo)
