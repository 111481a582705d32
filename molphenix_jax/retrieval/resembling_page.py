"""`resembling.html`: the profiles that molecules resemble, and from which dose on these act."""

import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from molphenix_jax.retrieval.lists_page import Group, Lists, Words, lists_page, most_rows
from molphenix_jax.retrieval.ranking.resembling import COLUMNS, Resembling
from molphenix_jax.storage import write_text

_WORDS = Words(
    heading="Profiles that molecules resemble",
    group="molecule",
    groups="molecules",
    row="profile",
    rows="profiles",
    listed="Profiles",
    searched="profile, SMILES, InChIKey",
    file="profiles",
)
# In the files and details alone.
_HIDDEN = ("id", "name", "smiles", "inchikey")


def write_page(path: str | pathlib.Path, found: Resembling) -> None:
    """Writes `resembling.html`.

    Of many molecules the page has the best profiles of each, `lists_page.MOST_ROWS` together, and
    says so.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(pathlib.Path(path), resembling_page(found))


def resembling_page(found: Resembling) -> str:
    """The page as text."""
    shown = most_rows(len(found.molecules))[0]
    groups = [_group(row, found) for row in found.molecules.iloc[:shown].to_dict("records")]
    groups += [Group(str(name), str(name)) for name in found.molecules["id"].iloc[shown:]]
    return lists_page(
        Lists(
            words=_WORDS,
            summary=_summary(found),
            about=found.about,
            groups=groups,
            table=pd.DataFrame(found.profiles[list(COLUMNS)]),
            owner="id",
            heading="query",
            columns=COLUMNS,
            hidden=_HIDDEN,
            searched=("query", "name", "smiles", "inchikey", "condition"),
            doses_um=found.doses_um,
            curves=found.profiles["curve"].tolist(),
            with_files=False,
        )
    )


def _summary(found: Resembling) -> str:
    n, active = len(found.molecules), sum(found.molecules["onset_um"].notna())
    parts = [f"{n:,} {'molecule' if n == 1 else 'molecules'}."]
    if pd.notna(found.cut):
        parts.append(f"{active:,} predicted active at the highest dose.")
    if len(found.rejected):
        parts.append(f"{len(found.rejected):,} more cannot be used: rejected_molecules.csv.")
    return " ".join(parts)


def _group(row: Mapping[str, Any], found: Resembling) -> Group:
    name, onset = str(row["id"]), row["onset_um"]
    warnings = []
    if row["trained_on"]:
        warnings.append(
            "The model has learned from this molecule's own profiles: that it resembles them says "
            "nothing of how well the model does with others."
        )
    elif not row["in_domain"]:
        warnings.append(
            "This molecule is far from all that the model has learned from: such molecules are "
            "seldom found."
        )
    curves, inactive = [], False
    if not found.has_rule:
        told = found.rule
    else:
        inactive = pd.isna(onset)
        told = "none: predicted inactive at the highest dose" if inactive else f"{onset:g} µM"
        near = [row[f"control_cosine_at_{dose:g}_um"] for dose in found.doses_um]
        caption = f"Cosine to control profiles by dose; active below the line, {found.cut:.2f}"
        curves.append((near, found.cut, caption))
    pictures = [(row["smiles"], name)]
    facts = [("onset", told), ("SMILES", row["smiles"]), ("InChIKey", row["inchikey"])]
    if row["nearest_smiles"]:
        pictures.append(
            (row["nearest_smiles"], f"Nearest training molecule, {row['nearest_tanimoto']:.2f}")
        )
        facts.append(
            ("Tanimoto to the nearest training molecule", f"{row['nearest_tanimoto']:.2f}")
        )
    return Group(
        name=name,
        label=f"{name} (predicted inactive)" if inactive else name,
        warnings=warnings,
        facts=facts,
        pictures=pictures,
        curves=curves,
    )
