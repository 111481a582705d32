import numpy as np

from molphenix_jax.phenomics import complete_features


def _table(n=1000, d=100):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def test_nothing_is_dropped_without_gaps():
    assert complete_features(_table()).all()


def test_a_few_gaps_are_the_wells_fault():
    x = _table(n=50, d=1000)  # dropping a feature would cost least here
    x[3, 7], x[8, 7], x[9, 8] = np.nan, np.inf, -np.inf
    assert complete_features(x).all()
    x[12, 7] = np.nan
    assert not complete_features(x).all()


def test_features_with_many_gaps_are_dropped():
    x = _table()
    x[:86, :4] = np.nan
    x[:400, 10] = np.nan
    assert np.flatnonzero(~complete_features(x)).tolist() == [0, 1, 2, 3, 10]


def test_wells_without_features_do_not_cost_the_features():
    x = _table()
    x[:80] = np.nan
    x[100:300, 5] = np.nan
    assert np.flatnonzero(~complete_features(x)).tolist() == [5]


def test_a_tenth_of_the_wells_is_worth_less_than_half_of_the_features():
    x = _table(d=4)
    x[:100, :2] = np.nan
    assert complete_features(x).all()


def test_one_complete_well_is_enough_to_keep_wells_alive():
    x = _table(n=6, d=8)
    x[:, 0] = np.nan  # no well would be left with this feature
    assert np.flatnonzero(~complete_features(x)).tolist() == [0]


def test_no_wells_drop_no_features():
    assert complete_features(np.zeros((0, 3), np.float32)).all()
