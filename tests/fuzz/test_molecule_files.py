"""Seeded mutations of files of molecules: each row is read as it stands, or the file is refused."""

import gzip
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rdkit import Chem

from molphenix_jax.molecules.files import read_molecules
from tests.fuzz.attempts import csv_bytes, damaged, seeds
from tests.fuzz.test_molecules import ACIDS, BASES, OTHERS, drawn, key

BROKEN = "C1CC("


def as_smi(smiles: Sequence[str], names: Sequence[str], rng) -> tuple[str, bytes, list[int]]:
    """Lines with comments, blank lines and perhaps a header; gives the line of each molecule."""
    gap = str(rng.choice([" ", "\t"]))
    lines = ["smiles" + gap + "name"] if rng.random() < 0.3 else []
    rows = []
    for text, name in zip(smiles, names, strict=True):
        if rng.random() < 0.2:
            lines.append(str(rng.choice(["", "# made by hand"])))
        lines.append(f"{text}{gap}{name}")
        rows.append(len(lines))
    end = str(rng.choice(["\n", "\r\n"]))
    return ".smi", (end.join(lines) + end).encode(rng.choice(["utf-8", "utf-8-sig"])), rows


def as_sdf(smiles: Sequence[str], names: Sequence[str]) -> tuple[str, bytes, list[int]]:
    records = []
    for text, name in zip(smiles, names, strict=True):
        mol = Chem.MolFromSmiles(text)
        block = "\n  broken\n\n  1  x\nM  END\n" if mol is None else Chem.MolToMolBlock(mol)
        title, _, rest = block.partition("\n")
        records.append(f"{title}\n{rest}> <label>\n{name}\n\n$$$$\n")
    return ".sdf", "".join(records).encode(), list(range(1, len(smiles) + 1))


def as_table(smiles: Sequence[str], names: Sequence[str], rng) -> tuple[str, bytes, list[int]]:
    columns = {
        "id": [str(7 * i + 3) for i in range(len(smiles))],
        str(rng.choice(["smiles", "SMILES", "Canonical_SMILES"])): smiles,
        "label": names,
    }
    header = [str(name) for name in rng.permutation(list(columns))]
    cells = [[columns[name][i] for name in header] for i in range(len(smiles))]
    content = csv_bytes(
        header,
        cells,
        sep=str(rng.choice([",", "\t", ";"])),
        encoding=str(rng.choice(["utf-8", "utf-16", "utf-8-sig"])),
        above=str(rng.choice(["", "# a library\n"])),
        quote_all=bool(rng.random() < 0.3),
    )
    return ".csv", content, list(range(1, len(smiles) + 1))


def written(folder: pathlib.Path, smiles: list[str], names: list[str], rng):
    """The file, the row of each molecule, and whether structures are drawn anew."""
    kind = int(rng.integers(4))
    if kind == 3:
        path = folder / "library.parquet"
        pd.DataFrame({"label": names, "SMILES": smiles}).to_parquet(path)
        return path, list(range(1, len(smiles) + 1)), kind
    makers = (
        lambda: as_smi(smiles, names, rng),
        lambda: as_sdf(smiles, names),
        lambda: as_table(smiles, names, rng),
    )
    suffix, content, rows = makers[kind]()
    packed = rng.random() < 0.3
    path = folder / f"library{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    return path, rows, kind


@seeds(30)
def test_each_row_is_read_as_it_stands_or_the_file_is_refused(tmp_path, seed, attempt):
    rng = np.random.default_rng(seed)
    molecules = rng.permutation([*ACIDS, *BASES, *OTHERS])[: rng.integers(2, 15)].tolist()
    smiles = [drawn(text, rng) for text in molecules]
    names = [f"lib {i}" for i in range(len(smiles))]
    broken = set(rng.permutation(len(smiles))[: rng.integers(0, 2)].tolist())
    smiles = [BROKEN if i in broken else text for i, text in enumerate(smiles)]
    path, rows, kind = written(tmp_path, smiles, names, rng)
    if seed % 5 < 2:
        path.write_bytes(damaged(path.read_bytes(), rng))
        attempt("damaged", lambda: read_molecules(path))
        return
    _, found = attempt("valid", lambda: read_molecules(path))
    assert found.row == rows
    said = found.others["name" if kind == 0 else "label"].tolist()
    assert said == names
    for i, text in enumerate(found.smiles):
        if kind == 1 and i in broken:
            assert found.reason[i]
            assert not text
        elif kind == 1:
            assert key(text) == key(molecules[i])
        else:
            assert (text, found.reason[i]) == (smiles[i], "")
