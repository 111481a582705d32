"""Molecules into an SDF, drawn flat, with a row of a table as the properties of each."""

import pathlib
import re
from collections.abc import Sequence

import pandas as pd
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from molphenix_jax.molecules.parallel import map_distinct
from molphenix_jax.storage import new_file

_LINE_END = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_NO_NAME = re.compile(r"[<>]")


def write_sdf(
    path: pathlib.Path, smiles: Sequence[str], titles: Sequence[str], properties: pd.DataFrame
) -> None:
    """Writes a record for each row; a gap in the table is a property that is not there.

    Args:
        path: The file.
        smiles: n SMILES.
        titles: n first lines.
        properties: n rows.

    Raises:
        ValueError: A SMILES cannot be read (names it).
        StorageError: It cannot be written.
    """
    blocks = mol_blocks(smiles)
    names = [_one_line(_NO_NAME.sub("", str(name))) for name in properties.columns]
    with new_file(path) as private, private.open("w", encoding="utf-8", newline="\n") as file:
        for title, block, row in zip(
            titles, blocks, properties.itertuples(index=False, name=None), strict=True
        ):
            file.write(_one_line(title) + block)
            for name, value in zip(names, row, strict=True):
                if text := "" if pd.isna(value) else _one_line(value):
                    file.write(f">  <{name}>\n{text}\n\n")
            file.write("$$$$\n")


def mol_blocks(smiles: Sequence[str]) -> list[str]:
    """What follows the first line of each molecule's record, to `M  END`: drawn flat.

    Raises:
        ValueError: A SMILES cannot be read (names it).
    """
    return map_distinct(_mol_blocks, list(smiles))


def _mol_blocks(smiles: Sequence[str]) -> list[str]:
    blocks = []
    with rdBase.BlockLogs():
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            if mol is None:
                raise ValueError(f"{text!r} is not a valid SMILES")
            rdDepictor.Compute2DCoords(mol)
            blocks.append(Chem.MolToMolBlock(mol))
    return blocks


def _one_line(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = _LINE_END.sub(" ", text).strip()
    return " " + text if text.startswith(("$$$$", ">")) else text
