"""Which molecules work: the perturbations that the model ranks best and worst."""

import html
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from molphenix_jax.reporting.page import Markup, html_table

SHOWN = 100
_NO_PICTURE = Markup("no picture")


def best_and_worst(table: pd.DataFrame, psi: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to show of all: the best ranked, and the worst ranked of the active ones.

    A profile without an effect cannot be found by any model, so the worst of all would say nothing.
    Where none has a p-value all rows count.

    Args:
        table: Rows as of `molecules_section`.
        psi: p-value at or below which a perturbation is active.
    """
    ordered = table.sort_values(["rank_percent", "p_value"], kind="stable")
    half = (len(ordered) + 1) // 2
    best, rest = ordered.iloc[: min(SHOWN, half)], ordered.iloc[min(SHOWN, half) :]
    p = rest["p_value"].to_numpy(float)
    if not np.isnan(table["p_value"].to_numpy(float)).all():
        rest = rest.iloc[np.flatnonzero(p <= psi)]
    return best, rest.tail(SHOWN).iloc[::-1]


def molecules_section(
    best: pd.DataFrame, worst: pd.DataFrame, pictures: Mapping[str, str], psi: float, total: int
) -> str:
    """The section of the page.

    Args:
        best: Rows of the best, in order: smiles, concentration_um, condition, rank, gallery,
            rank_percent, wells, p_value, replicate_cosine, nearest_smiles, nearest_tanimoto.
        worst: The same of the worst.
        pictures: Inline SVG of each SMILES, made by this package.
        psi: See `best_and_worst`.
        total: Perturbations that were ranked.
    """
    parts = [
        "<h2>Which molecules work</h2>",
        f"<p>Each of the {total:,} perturbations of unseen molecules, by the rank that the model "
        "gives it among all of its fold when its profile is looked up. <code>molecules.csv</code> "
        "beside this page has all of them.</p>",
    ]
    for title, rows in (
        (f"The best {len(best):,}", best),
        (f"The worst {len(worst):,} of the active ones (p ≤ {psi:g})", worst),
    ):
        table = _table(rows, pictures) if len(rows) else "<p>There are none.</p>"
        parts.append(f"<details><summary>{html.escape(title)}</summary>{table}</details>")
    return "\n".join(parts)


def _table(rows: pd.DataFrame, pictures: Mapping[str, str]) -> str:
    conditions = len(set(rows["condition"])) > 1
    numbers = ("p_value", "replicate_cosine", "nearest_tanimoto")
    columns = ["structure", "SMILES", "dose, µM", *(["condition"] if conditions else [])]
    n_text = len(columns) - (not conditions)
    columns += ["rank", "of", "rank %", "wells", "replicate p", "replicate cosine"]
    columns += ["Tanimoto to nearest training molecule", "nearest training molecule"]
    content = []
    for row in rows.to_dict("records"):
        nearest = row["nearest_smiles"]
        p, cosine, tanimoto = ("" if math.isnan(row[k]) else f"{row[k]:.2g}" for k in numbers)
        cells = [
            _picture(pictures, row["smiles"]),
            Markup(f'<span class="smiles">{html.escape(row["smiles"])}</span>'),
            f"{row['concentration_um']:g}",
            *([str(row["condition"])] if conditions else []),
            f"{row['rank']:,}",
            f"{row['gallery']:,}",
            f"{row['rank_percent']:.1f}",
            f"{row['wells']:,}",
            *(p, cosine, tanimoto),
            _picture(pictures, nearest) if nearest else "",
        ]
        content.append(cells)
    return html_table(columns, content, text_columns=n_text)


def _picture(pictures: Mapping[str, str], smiles: str) -> Markup:
    drawn = pictures.get(smiles, "")
    if not drawn:
        return _NO_PICTURE
    label = f'role="img" aria-label="Structure of {html.escape(smiles)}"'
    return Markup(drawn.replace('aria-hidden="true"', label, 1))
