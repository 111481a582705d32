"""Which molecules a report shows as the best and the worst, and how."""

import numpy as np
import pandas as pd

from molphenix_jax.reporting import best_and_worst, molecules_section
from molphenix_jax.reporting.run.molecules import SHOWN

PICTURE = '<svg aria-hidden="true"></svg>'


def make_table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rank = rng.permutation(n) + 1
    return pd.DataFrame(
        {
            "smiles": [f"C{k}<b>" for k in range(n)],
            "concentration_um": 10.0,
            "condition": "24 h",
            "rank": rank,
            "gallery": n,
            "rank_percent": 100 * rank / n,
            "wells": 4,
            "p_value": np.where(np.arange(n) % 2, 0.001, 0.5),
            "replicate_cosine": np.nan,
            "nearest_smiles": "CCO",
            "nearest_tanimoto": 0.25,
        }
    )


def test_the_best_are_of_all_and_the_worst_of_the_active():
    best, worst = best_and_worst(make_table(1000), 0.01)
    assert best["rank"].tolist() == list(range(1, SHOWN + 1))
    assert len(worst) == SHOWN
    assert worst["rank"].is_monotonic_decreasing
    assert (worst["p_value"] <= 0.01).all()
    assert worst["rank"].min() > 750


def test_without_p_values_and_with_few_rows_each_is_shown_once():
    best, worst = best_and_worst(make_table(7).assign(p_value=np.nan), 0.01)
    assert best["rank"].tolist() == [1, 2, 3, 4]
    assert worst["rank"].tolist() == [7, 6, 5]


def test_the_section_has_pictures_with_labels_and_no_markup_of_users():
    best, worst = best_and_worst(make_table(4), 0.01)
    text = molecules_section(best, worst, {"CCO": PICTURE, "C0<b>": PICTURE}, 0.01, 4)
    assert 'aria-label="Structure of CCO"' in text
    assert "<b>" not in text
    assert text.count("no picture") == len(best) + len(worst) - ("C0<b>" in [*best["smiles"]])
    assert "nan" not in text
    assert 'data-label="rank"' in text
    assert ">condition<" not in text  # there is but one
