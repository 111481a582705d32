"""Seeded mutations of label tables: each label is read as what it says, or the table is refused."""

import dataclasses
import math

import numpy as np
import pandas as pd
from rdkit import Chem

from molphenix_jax.tasks.property_pretraining.labels import read_labels
from tests.fuzz.attempts import csv_bytes, damaged, seeds

MOLECULES = (
    *("CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN(CC)CCNC(=O)c1ccc(N)cc1", "OC(=O)c1ccccc1O"),
    *("C[C@H](N)C(=O)O", "CN1CCC[C@H]1c1cccnc1", "Clc1ccccc1", "CC(C)Cc1ccc(C(C)C(=O)O)cc1"),
    *("O=c1cc[nH]c(=O)[nH]1", "N#Cc1ccccc1", "CS(=O)(=O)Nc1ccccc1", "C1CCNCC1", "FC(F)(F)c1ccccc1"),
)
LABELS = ("solubility", "mass", "toxic", "phase")
WORDS = (("yes", "no"), ("active", "inactive"), ("TRUE", "FALSE"), ("Positive", "Negative"))
UNUSABLE = ("C1CC", "not known", "", "c1ccccc1(", "CC>>CO")
# Columns that hold no labels, by how they count.
OTHERS = {
    "": lambda i: str(i),
    "compound_id": lambda i: str(5001 + 7 * i),
    "name": lambda i: f"compound {i}",
    "conc_uM": lambda i: str(10 ** (i % 3)),
    "plates": lambda i: "3",
    "Metadata_x": lambda i: str(i * i),
}


@dataclasses.dataclass
class Table:
    """Texts of a label table, and what has to be read from them."""

    header: list[str]
    rows: list[list[str]]
    smiles: list[str]
    values: pd.DataFrame
    rejected: list[int]


def truth(rng: np.random.Generator) -> pd.DataFrame:
    """Numbers with gaps, one row for each of some molecules."""
    n = int(rng.integers(8, len(MOLECULES) + 1))
    values = pd.DataFrame(
        {
            "solubility": np.round(rng.uniform(0.1, 9.9, n), 2),
            "mass": np.round(rng.uniform(1_000, 900_000, n), 2) + 0.01,
            "toxic": np.resize([0.0, 1.0], n)[rng.permutation(n)],
            "phase": np.resize([0.0, 1.0, 2.0, 3.0], n)[rng.permutation(n)],
        }
    )
    gaps = rng.random(values.shape) < 0.15
    gaps[:, 3] = False  # class 3 and the numbers 0 and 1 stay
    gaps[:, 2] &= np.arange(n) > n // 2
    return values.mask(gaps)


def written(rng: np.random.Generator) -> tuple[Table, dict]:
    """A table in one of many ways, and how its file is written."""
    values = truth(rng)
    chosen = rng.permutation(MOLECULES)[: len(values)].tolist()
    ways = set(rng.permutation(13)[: rng.integers(1, 6)].tolist())
    file = {}
    if 0 in ways:
        file["sep"] = str(rng.choice(["\t", ";", "|"]))
    if 1 in ways:
        file["encoding"] = str(rng.choice(["utf-16", "utf-8-sig", "utf-16-le"]))
    if 2 in ways:
        file["above"] = "# assays, exported by hand\n"
    file |= {"packed": 3 in ways, "quote_all": 4 in ways}
    if 5 in ways:  # a molecule again, with labels of its own
        values = pd.concat([values, values.iloc[:2] + 0.0], ignore_index=True)
        chosen += chosen[2:4]
    if 6 in ways:
        order = rng.permutation(len(values))
        values, chosen = values.iloc[order].reset_index(drop=True), [chosen[i] for i in order]
    gap = "" if 7 not in ways else str(rng.choice(["NA", "n/a", "nan", "-", "not determined"]))
    yes, no = ("1", "0") if 8 not in ways else WORDS[rng.integers(len(WORDS))]
    comma, grouped = file.get("sep") == ";", 9 in ways

    def number(value: float, digits: int = 2) -> str:
        text = f"{value:,.{digits}f}" if grouped else f"{value:.{digits}f}"
        return text.translate(str.maketrans(",.", ".,")) if comma else text

    say = {
        "solubility": number,
        "mass": number,
        "toxic": lambda v: yes if v else no,
        "phase": lambda v: f"{v:.0f}",
    }
    columns = {
        name: [gap if math.isnan(v) else say[name](v) for v in values[name]] for name in LABELS
    }
    if 10 in ways:  # bounds in gaps
        columns["solubility"] = [
            str(rng.choice([">10", "< 0.1", "~5", "<=0.5"])) if math.isnan(v) else text
            for v, text in zip(values["solubility"], columns["solubility"], strict=True)
        ]
    smiles = [
        _drawn(text, rng) if 11 in ways else text for text in chosen
    ]  # another drawing or a salt
    name = str(rng.choice(["smiles", "SMILES", "Canonical_SMILES", "ordered_smiles"]))
    named = {name: smiles, **columns}
    if 12 in ways:
        for other in rng.permutation(list(OTHERS))[: rng.integers(1, 4)]:
            named[str(other)] = [OTHERS[str(other)](i) for i in range(len(values))]
    header = [str(c) for c in rng.permutation(list(named))]
    rows = [[named[c][i] for c in header] for i in range(len(values))]
    rejected = []
    if rng.random() < 0.3:
        at = int(rng.integers(len(rows) + 1))
        bad = [
            str(rng.choice(UNUSABLE)) if c == name else cell
            for c, cell in zip(header, rows[0], strict=True)
        ]
        rows.insert(at, bad)
        rejected = [at + 1]  # rows count from 1
    return Table(header, rows, chosen, values, rejected), file


def _drawn(smiles: str, rng: np.random.Generator) -> str:
    mol = Chem.MolFromSmiles(smiles)
    again = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=int(rng.integers(1, 1 << 30)))[0]
    return again + str(rng.choice(["", ".O", " a name"]))


@seeds(50)
def test_a_table_is_read_as_what_it_says_or_refused(tmp_path, seed, attempt):
    rng = np.random.default_rng(seed)
    table, file = written(rng)
    path = tmp_path / "labels.csv"
    content = csv_bytes(table.header, table.rows, **file)
    if seed % 5 < 2:
        path.write_bytes(damaged(content, rng))
        attempt("damaged", lambda: read_labels([str(path)]))
        return
    path.write_bytes(content)
    labels = attempt("valid", lambda: read_labels([str(path)]))
    keys = [Chem.MolToInchiKey(Chem.MolFromSmiles(text)) for text in table.smiles]
    assert labels.molecules["inchikey"].tolist() == keys
    assert labels.rejected["row"].tolist() == table.rejected
    found = {
        name: group.values[:, k] for group in labels.groups for k, name in enumerate(group.columns)
    }
    assert sorted(found) == sorted(LABELS), labels.notes
    for name in LABELS:
        expected = table.values[name].to_numpy(np.float32)
        np.testing.assert_array_equal(found[name], expected, err_msg=f"{name}: {labels.notes}")
    kinds = {name: group.loss for group in labels.groups for name in group.columns}
    assert kinds == dict(zip(LABELS, ("mae", "mae", "bce", "hybrid_ce"), strict=True))
