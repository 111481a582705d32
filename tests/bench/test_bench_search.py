"""`molphenix bench search`, at a size of no time: the rows that it writes."""

import json
import re

import numpy as np

from molphenix_jax import cli
from molphenix_jax.bench import search as bench
from molphenix_jax.retrieval.index import search


def test_it_runs(tmp_path):
    words = "--queries=5 --rows=3000 --width=8 --top=4 --repeats=1 --approximate=IVF8,Flat "
    words += "--approximate=usearch"
    assert cli.main(["bench", "search", *words.split(), f"--json={tmp_path / 'rows.json'}"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["other_name"] for row in rows[:2]] == ["the product alone", "FAISS IndexFlatIP"]
    # What is not installed is said, each on its own.
    if rows[1]["other"] is None:
        assert "pip install 'molphenix-jax[faiss]'" in rows[1]["note"]
        assert "pip install 'molphenix-jax[faiss]'" in rows[2]["note"]
    else:
        assert rows[2]["ours"] == 0
        assert 0 <= recall(rows[3]) <= 1
    assert rows[-1]["case"] == "exact beside usearch"
    if rows[-1]["other"] is None:
        assert "pip install 'molphenix-jax[usearch]'" in rows[-1]["note"]
    else:
        assert recall(rows[-1]) > 0.9


def recall(row) -> float:
    return float(re.search(r"recall ([\d.]+) of the exact top 4", row["note"])[1])


def test_differences_are_those_that_the_scores_tell():
    scores = np.array([[0.9, 0.8, 0.8 - 1e-6, 0.5]], np.float32)
    one = search.Found(scores, np.array([[1, 2, 3, 4]]), np.zeros((1, 4), int))
    assert bench._differences(one, one._replace(molecule=np.array([[1, 3, 2, 4]]))) == 0
    assert bench._differences(one, one._replace(molecule=np.array([[9, 2, 3, 4]]))) == 1
    assert bench._differences(one, one._replace(scores=scores + 1e-3)) == 4
