"""`molphenix bench search`, at a size of no time: the rows that it writes."""

import json

import numpy as np
import pytest

from molphenix_jax import cli
from molphenix_jax.bench import search as bench
from molphenix_jax.retrieval.index import search


def test_it_runs(tmp_path):
    words = "--queries=5 --rows=3000 --width=8 --top=4 --repeats=1 --approximate=IVF8,Flat"
    assert cli.main(["bench", "search", *words.split(), f"--json={tmp_path / 'rows.json'}"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["other_name"] for row in rows[:2]] == ["the product alone", "FAISS IndexFlatIP"]
    if rows[1]["other"] is None:
        assert "pip install 'molphenix-jax[faiss]'" in rows[1]["note"]
        pytest.skip("FAISS is not installed")
    assert rows[2]["ours"] == 0
    assert "recall" in rows[3]["note"]


def test_differences_are_those_that_the_scores_tell():
    scores = np.array([[0.9, 0.8, 0.8 - 1e-6, 0.5]], np.float32)
    one = search.Found(scores, np.array([[1, 2, 3, 4]]), np.zeros((1, 4), int))
    assert bench._differences(one, one._replace(molecule=np.array([[1, 3, 2, 4]]))) == 0
    assert bench._differences(one, one._replace(molecule=np.array([[9, 2, 3, 4]]))) == 1
    assert bench._differences(one, one._replace(scores=scores + 1e-3)) == 4
