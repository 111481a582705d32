"""Replicate mAP: what is given to copairs, against numbers of copairs itself.

copairs is an extra that tests do without (137 MB): where it is missing, a few plain lines stand in
for it, which the golden numbers of tests/golden/copairs/make.py judge as well.
"""

import importlib.util
import json
import pathlib
import types

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli, extras
from molphenix_jax.extras import MissingExtraError
from molphenix_jax.published.replicates import map_of, replicate_map, summary
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.prepare import prepare
from tests import tiny

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "copairs" / "replicates.json").read_text()
)


def average_precision(meta, feats, pos_sameby, pos_diffby, neg_sameby, neg_diffby, **_):
    """AP of each row by the pairs that copairs' rules name."""
    assert not pos_diffby
    assert not neg_sameby
    unit = feats / np.linalg.norm(feats, axis=1, keepdims=True)
    cosine, rows = unit @ unit.T, []
    for i in range(len(meta)):
        own = meta.iloc[i]
        same = (meta[pos_sameby] == own[pos_sameby]).all(axis=1).to_numpy()
        other = (meta[neg_diffby] != own[neg_diffby]).all(axis=1).to_numpy()
        same = same & (np.arange(len(meta)) != i)
        asked = np.flatnonzero(same | other)
        hit = same[asked][np.argsort(-cosine[i, asked])]
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        ap = (precision * hit).sum() / hit.sum() if hit.any() else np.nan
        rows.append((ap, hit.sum(), len(hit)))
    return meta.assign(
        **dict(zip(("average_precision", "k", "n"), zip(*rows, strict=True), strict=True))
    )


def mean_average_precision(ap, sameby, *, null_size, seed, **_):
    """Means of groups, with p-values of random orders and Benjamini-Hochberg's correction."""
    rng, rows, nulls = np.random.default_rng(seed), [], {}
    for (name,), own in ap.groupby(sameby):
        null = np.zeros(null_size)
        for k, n in zip(own["k"], own["n"], strict=True):
            # As in copairs, wells that have as many pairs share their random orders.
            if (k, n) not in nulls:
                places = np.argsort(rng.random((null_size, n)), axis=1)[:, :k]
                precision = np.arange(1, k + 1) / (np.sort(places, axis=1) + 1)
                nulls[k, n] = precision.mean(axis=1)
            null += nulls[k, n] / len(own)
        mean = own["average_precision"].mean()
        rows.append((name, mean, (1 + (null > mean).sum()) / (1 + null_size)))
    found = pd.DataFrame(rows, columns=[*sameby, "mean_average_precision", "p_value"])
    order = np.argsort(-found["p_value"].to_numpy())
    scaled = found["p_value"].to_numpy()[order] * len(found) / np.arange(len(found), 0, -1)
    corrected = np.empty(len(found))
    corrected[order] = np.minimum.accumulate(np.minimum(scaled, 1))
    return found.assign(corrected_p_value=corrected)


@pytest.fixture
def copairs(monkeypatch):
    if importlib.util.find_spec("copairs") is None:
        plain = types.SimpleNamespace(
            average_precision=average_precision, mean_average_precision=mean_average_precision
        )
        monkeypatch.setattr(extras, "load", lambda *_, **__: plain)


@pytest.mark.usefixtures("copairs")
def test_as_copairs_has_it():
    x, controls = np.array(GOLDEN["x"]), np.array(GOLDEN["controls"])
    code = np.array(GOLDEN["code"])
    found = map_of(x, code + 3, controls, null_size=5_000, seed=0).sort_index()
    assert found.index.tolist() == [3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(found["mean_average_precision"], GOLDEN["map"], rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], GOLDEN["p_value"], atol=0.03)
    np.testing.assert_allclose(found["corrected_p_value"], GOLDEN["corrected_p_value"], atol=0.06)


@pytest.fixture(scope="module")
def screen(cache):
    folder = cache / "screens" / "replicates"
    wells = cache / "replicates.parquet"
    tiny.wells(cache).to_parquet(wells)
    return prepare(wells, tiny.prepare_config(), cache=folder, name="tiny")


@pytest.mark.usefixtures("copairs")
def test_a_screen(screen, tmp_path, monkeypatch):
    table = replicate_map(screen, null_size=200, seed=0)
    replicated = screen.n_replicates >= 2
    assert len(table) == replicated.sum()
    assert min(table["n_replicates"].tolist()) == 2
    np.testing.assert_array_equal(table["p_value"], screen.p_value[replicated])
    # Active perturbations are retrieved, and the measures agree on which these are.
    active = table["p_value"] <= 0.01
    assert table.loc[active, "map"].mean() > table.loc[table["p_value"] > 0.5, "map"].mean() + 0.2
    shares = dict(summary(table).itertuples(index=False))
    assert shares["mean mAP"] == pytest.approx(table["map"].mean())
    assert shares["active by our p <= 0.1"] == pytest.approx((table["p_value"] <= 0.1).mean())
    out = tmp_path / "map.csv"
    options = [str(screen.folder), "--null-size=200", "--seed=1", f"--out={out}"]
    with console.capture() as said:
        assert cli.main(["published", "replicates", *options]) == 0
    assert "CellCLIP 0.663" in said.get()
    assert pd.read_csv(out)["map"].tolist() == pytest.approx(table["map"].tolist())
    monkeypatch.setattr("molphenix_jax.published.replicates.MOST_PAIRS", 10 * screen.n_wells)
    few = replicate_map(screen, null_size=200, seed=0)
    assert np.mean(few["map"]) > np.mean(table["map"]), "fewer controls to come before"


@pytest.mark.skipif(importlib.util.find_spec("copairs") is not None, reason="it is installed")
def test_without_copairs():
    with pytest.raises(
        MissingExtraError, match=r"replicate mAP needs copairs.*molphenix-jax.copairs"
    ):
        map_of(np.ones((2, 3)), [0, 0], np.ones((2, 3)), 10, 0)
