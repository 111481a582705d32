"""Chances: counted on held-out molecules, in the library and the list that are asked for."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.retrieval.ranking.calibration import (
    Chances,
    chances_of_table,
    fit_curve,
    log_loss,
    measure_chances,
)
from molphenix_jax.retrieval.ranking.selecting import Listed, Wanted, select
from molphenix_jax.trained.held_out import HeldOut
from tests.retrieval.ranking import made

# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]

N, H = 80, 60


def held_out(table, *, inactive=0, seed=0) -> HeldOut:
    """Two profiles of each of the first molecules, at random."""
    rng, of = np.random.default_rng(seed), np.arange(H) // 2
    return HeldOut(
        profile=rng.normal(size=(H, made.WIDTH)).astype(np.float32),
        smiles=table["smiles"].to_numpy(str)[of],
        inchikey=table["inchikey"].to_numpy(str)[of],
        concentration_um=np.full(H, 10.0),
        condition=np.zeros(H, np.int64),
        replicates=np.full(H, 4),
        p_value=np.full(H, 0.001),
        activity_p=np.where(np.arange(H) < inactive, 0.5, 0.001),
    )


def world(tmp_path, **changes):
    """Molecules, of which a model has held back the first."""
    table = made.molecules(N)
    held = held_out(table, **changes)
    model = made.load(made.write_run(tmp_path / "run", held_out=held))
    z_x = model.embed_profiles(held.profile, corrected=True)
    return table, held, model, z_x


def test_the_chance_is_the_share_of_held_out_molecules_in_such_a_list(tmp_path):
    """By the formula: each held-out profile against the library with its own molecule in it."""
    table, held, model, z_x = world(tmp_path, inactive=10)
    z = made.embedded(model, table)
    index = made.write_index(tmp_path / "INDEX", model, z, table)
    for top in (1, 10, 40):
        chances, why = measure_chances(model, index, Wanted(top=top))
        assert chances is not None, why
        best = np.einsum("qe,mke->qmk", z_x, z).max(axis=2)[10:]
        own = best[np.arange(H - 10), np.arange(10, H) // 2]
        rank = (best > own[:, None] + 1e-6).sum(axis=1)
        assert chances.found.tolist() == (rank < top).tolist()
        lists = select(index, z_x[10:], Wanted(top=top))
        says = chances.of(held.profile[10:], lists)
        assert np.ptp(says) == 0  # 25 molecules do not tell which
        # One hit and one miss more; every molecule has two profiles.
        assert says[0] == pytest.approx(((rank < top).sum() / 2 + 1) / (25 + 2))
        assert f"{(rank < top).sum()} of 50 held-out profiles (25 molecules)" in chances.described
        assert f"so {says[0]:.0%} [" in chances.described
        assert "25 molecules are too few to tell which, 50 are needed" in chances.described
    assert measure_chances(model, index, Wanted(top=N))[0].found.all()


def test_every_dose_and_filters_count_the_list_that_they_give(tmp_path):
    table, _, model, z_x = world(tmp_path)
    z = made.embedded(model, table)
    index = made.write_index(tmp_path / "INDEX", model, z, table)
    every, _ = measure_chances(model, index, Wanted(top=10, best_dose=False))
    scores = np.einsum("qe,mke->qmk", z_x, z)
    own = scores[np.arange(H), np.arange(H) // 2].max(axis=1)
    above = (scores > own[:, None, None] + 1e-6).sum(axis=(1, 2))
    assert every.found.tolist() == (above < 10).tolist()
    few, _ = measure_chances(model, index, Wanted(top=10, substructure="c1ccncc1"))
    plain, _ = measure_chances(model, index, Wanted(top=10))
    assert few.found.sum() > plain.found.sum()


def test_what_it_says_holds():
    """Of 400 molecules, whose lists hold them the more often the farther they are: bin by bin."""
    rng, n = np.random.default_rng(0), 1200
    x, molecule = rng.normal(size=(n, 1)), np.array([f"m{i % 400}" for i in range(n)])
    truth = 1 / (1 + np.exp(1 - 2 * x[:, 0]))
    found = rng.random(n) < truth
    curve = fit_curve(x, found, molecule)
    fitted, says, share = curve.fitted, curve.says, curve.share
    assert fitted is not None
    assert log_loss(says, found) < log_loss(share, found)
    np.testing.assert_allclose(fitted.predict_proba(x)[:, 1], truth, atol=0.1)
    table = Chances(found, molecule, says, "", curve.mean, fitted).reliability()
    assert len(table) == 5
    assert table["profiles"].sum() == n
    np.testing.assert_allclose(table["says"], table["holds"], atol=0.08)


def test_what_a_profile_looks_like_counts_only_if_it_predicts():
    rng, n = np.random.default_rng(0), 300
    molecule = np.array([f"m{i % 60}" for i in range(n)])
    found = rng.random(n) < 0.3
    curve = fit_curve(rng.normal(size=(n, 1)), found, molecule)
    assert curve.fitted is None
    np.testing.assert_array_equal(curve.says, curve.share)
    assert np.ptp(curve.says) < 0.1
    assert curve.mean == pytest.approx((found.mean() * 60 + 1) / 62)
    none = fit_curve(rng.normal(size=(n, 1)), np.zeros(n, bool), molecule)
    assert none.fitted is None
    assert 0 < none.says.min() <= none.says.max() < 0.02


def test_few_molecules_move_no_chance():
    """By a dozen seeds, twenty molecules that tell nothing: no curve is believed by accident."""
    believed = 0
    for seed in range(12):
        rng, n = np.random.default_rng(seed), 200
        molecule = np.array([f"m{i % 20}" for i in range(n)])
        found = (rng.random(20) < 0.3)[np.arange(n) % 20]  # whole molecules are found or not
        x = rng.normal(size=20)[np.arange(n) % 20][:, None]
        believed += fit_curve(x, found, molecule).fitted is not None
    assert believed == 0


def test_a_table_of_all_folds_gives_the_chance(tmp_path):
    """Also to a model that holds nothing back; measured otherwise, it is refused by a sentence."""
    table = made.molecules(N)
    model = made.load(made.write_run(tmp_path / "run"))
    index = made.write_index(tmp_path / "INDEX", model, made.embedded(model, table), table)
    rng, n, path = np.random.default_rng(0), 600, tmp_path / "ranks.csv"
    length = rng.lognormal(size=n)
    found = rng.random(n) < 1 / (1 + np.exp(1 - 2 * np.log(length)))
    frame = pd.DataFrame(
        {
            "fold": np.arange(n) % 5,
            "inchikey": [f"m{i % 200}" for i in range(n)],
            "activity_p": np.where(np.arange(n) < 30, 0.5, 0.001),
            "length": length,
            "drop": 0.1,
            "rank": np.where(found, 3, 50),
            "gallery": N,
            "top": 10,
            "doses": "1,10",
        }
    )
    frame.to_csv(path, index=False)
    chances, why = chances_of_table(path, index, Wanted(top=10))
    assert chances is not None, why
    assert len(chances.found) == n - 30
    assert (chances.found == found[30:]).all()
    assert log_loss(chances.says, chances.found) < 0.6
    profiles = np.zeros((2, made.WIDTH), np.float32)
    profiles[:, 0] = 0.3, 5.0
    one = Listed(np.arange(2), np.zeros(2, int), np.array([0.3, 0.2]), np.arange(2))
    low, high = chances.of(profiles, [one, one])
    assert low < 0.15
    assert high > 0.75
    none, why = chances_of_table(path, index, Wanted(top=10, diverse=True))
    assert none is None
    assert "without filters" in why
    for wanted, changes, message in (
        (Wanted(top=9), {}, "measured for lists of 10, and 9 are asked for"),
        (Wanted(top=10), {"doses": "1,20"}, "measured for doses of 1,20, and 1,10"),
        (Wanted(top=10), {"gallery": 999}, "measured among 999 molecules, and .* has 80"),
    ):
        frame.assign(**changes).to_csv(path, index=False)
        with pytest.raises(InputError, match=message):
            chances_of_table(path, index, wanted)
    frame.drop(columns="top").to_csv(path, index=False)
    with pytest.raises(InputError, match="no column 'top', which molphenix bench library RUN"):
        chances_of_table(path, index, Wanted(top=10))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"held": False}, "keeps no held-out profiles"),
        ({"inactive": H - 4}, "2 held-out molecules"),
    ],
)
def test_where_there_is_none_it_says_why(tmp_path, changes, why):
    table = made.molecules(N)
    held = (
        held_out(table, inactive=changes.get("inactive", 0)) if changes.get("held", True) else None
    )
    model = made.load(made.write_run(tmp_path / "run", held_out=held))
    index = made.write_index(tmp_path / "INDEX", model, made.embedded(model, table), table)
    chances, said = measure_chances(model, index, Wanted(top=5))
    assert chances is None
    assert why in said
    assert measure_chances(model, index, Wanted(), skip=True) == (None, "it was not asked for")
