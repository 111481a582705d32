import numpy as np
import pytest

from molphenix_jax.phenomics import judge_wells
from molphenix_jax.phenomics.outliers import DISTANCE_LIMIT
from molphenix_jax.tables import rows

PLATES, CONTROLS, TREATED, D = 4, 12, 30, 40


def screen(seed=0):
    """Plates that lie apart, features of many units, strongly active treated wells."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(PLATES), CONTROLS + TREATED)
    is_control = np.tile(np.arange(CONTROLS + TREATED) < CONTROLS, PLATES)
    x = rng.standard_t(6, size=(len(group), D)) + 3 * rng.normal(size=(PLATES, D))[group]
    x[~is_control] += 50 * rng.normal(size=(len(group), D))[~is_control]
    return x * 10.0 ** rng.uniform(-3, 3, D) + 5.0, group, is_control


def sd(x, group, is_control):
    """Spread of the controls within plates."""
    residual = [x[is_control & (group == g)] for g in range(PLATES)]
    return np.concatenate([r - r.mean(axis=0) for r in residual]).std(axis=0)


def broken(how, x, group, is_control, rows):
    rng = np.random.default_rng(1)
    x, unit = x.copy(), sd(x, group, is_control)
    if how == "a million":
        x[rows] = 1e6 * rng.choice([-1.0, 1.0], (len(rows), D))
    elif how == "zero":
        x[rows] = 0.0
    elif how == "one feature":
        x[rows, 3] += 1e6 * unit[3]
    elif how == "a fifth of the features":
        x[rows, : D // 5] += 100 * unit[: D // 5]
    else:
        x[rows] += float(how.split()[0]) * unit * rng.choice([-1.0, 1.0], (len(rows), D))
    return x


@pytest.mark.parametrize("n_broken", [1, 2, 3])
@pytest.mark.parametrize(
    "how",
    ["a million", "100 SD", "30 SD", "15 SD", "zero", "one feature", "a fifth of the features"],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_exactly_the_broken_controls_are_found(how, n_broken, grouped):
    x, group, is_control = screen()
    if not grouped:
        x -= np.stack([x[is_control & (group == g)].mean(axis=0) for g in range(PLATES)])[group] - 9
    rows = np.flatnonzero(is_control)[:n_broken]
    x = broken(how, x, group, is_control, rows)
    found = judge_wells(x, group if grouped else np.zeros_like(group), is_control)
    np.testing.assert_array_equal(np.flatnonzero(found.outlier | found.absurd), rows)
    assert not found.exploding.any()
    assert found.notes == ()
    if how == "a million":
        assert found.distance[rows[0]] == pytest.approx(30, rel=0.05)
        assert np.nanmedian(found.distance) == pytest.approx(1, rel=0.2)


def test_nothing_is_found_in_an_undisturbed_screen():
    x, group, is_control = screen()
    found = judge_wells(x, group, is_control)
    assert not (found.outlier | found.absurd).any()
    assert not found.exploding.any()
    assert np.nanmax(found.distance) < 0.5 * DISTANCE_LIMIT
    np.testing.assert_array_equal(np.isnan(found.distance), ~is_control)


def test_a_tenth_of_the_controls_is_found():
    x, group, is_control = screen()
    rows = np.flatnonzero(is_control)[::10]
    found = judge_wells(broken("30 SD", x, group, is_control, rows), group, is_control)
    np.testing.assert_array_equal(np.flatnonzero(found.outlier), rows)


def test_two_kinds_of_controls_are_said_and_stay():
    x, group, is_control = screen()
    rows = np.flatnonzero(is_control)[::3]
    found = judge_wells(broken("30 SD", x, group, is_control, rows), group, is_control)
    assert not found.outlier.any()
    (note,) = found.notes
    assert f"{len(rows)} of {is_control.sum()} controls" in note


def test_a_treated_well_is_judged_by_absurd_values_alone():
    x, group, is_control = screen()
    treated = np.flatnonzero(~is_control)
    unit = sd(x, group, is_control)
    x[treated[0]] += 2000 * unit
    x[treated[1]] += 1e6 * unit
    x[treated[2], 7] += 1e6 * unit[7]
    found = judge_wells(x, group, is_control)
    np.testing.assert_array_equal(np.flatnonzero(found.absurd), treated[1:3])
    assert list(found.n_absurd[treated[:3]]) == [0, D, 1]
    assert found.worst[treated[2]] == 7
    assert 0.5e6 < found.deviation[treated[2]] < 2e6


def small_plates(n_small, seed=0):
    """Three plates of 12 controls and one, far off, of `n_small`."""
    x, group, is_control = screen(seed)
    x[group == 3] += 25 * sd(x, group, is_control)
    last = np.flatnonzero(is_control & (group == 3))
    kept = np.ones(len(x), bool)
    kept[last[n_small:]] = False
    return x[kept], group[kept], is_control[kept]


@pytest.mark.parametrize("n_small", [2, 3, 7])
def test_a_far_plate_of_few_controls_speaks_for_itself(n_small):
    x, group, is_control = small_plates(n_small)
    assert not judge_wells(x, group, is_control).outlier.any()


@pytest.mark.parametrize("n_small", [1, 2, 3, 7])
def test_a_broken_control_of_a_small_group_is_found(n_small):
    x, group, is_control = screen()
    last = np.flatnonzero(is_control & (group == 3))
    kept = np.ones(len(x), bool)
    kept[last[n_small:]] = False
    x = broken("1e4 SD", x, group, is_control, last[:1])
    found = judge_wells(x[kept], group[kept], is_control[kept])
    assert list(np.flatnonzero(found.outlier | found.absurd)) == [
        int(np.flatnonzero(kept).searchsorted(last[0]))
    ]


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_a_near_constant_feature_that_explodes_is_given_up_and_no_well(share):
    x, group, is_control = screen()
    rng = np.random.default_rng(3)
    x[:, 5] = 0.5
    x[rng.random(len(x)) < share, 5] = 1e9
    found = judge_wells(x, group, is_control)
    np.testing.assert_array_equal(np.flatnonzero(found.exploding), [5] if share < 0.05 else [])
    assert not (found.outlier | found.absurd).any()


def test_a_feature_that_vanishes_on_controls_is_given_up():
    x, group, is_control = screen()
    rng = np.random.default_rng(3)
    x[:, 5] = np.where(is_control, 1e-12, 1.0) * rng.normal(size=len(x))
    x[:, 6] = np.where(is_control, 0.0, 1e9) * rng.normal(size=len(x))
    found = judge_wells(x, group, is_control)
    np.testing.assert_array_equal(np.flatnonzero(found.exploding), [5, 6])
    assert not (found.outlier | found.absurd).any()
    given = judge_wells(x, group, is_control, features_given=True)
    assert not given.exploding.any()


def test_a_rare_event_is_no_explosion():
    x, group, is_control = screen()
    x[:, 5] = np.random.default_rng(3).random(len(x)) < 0.01
    x[:, 6] = np.random.default_rng(4).random(len(x)) < 0.3
    found = judge_wells(x, group, is_control)
    assert not found.exploding.any()
    assert not (found.outlier | found.absurd).any()


def test_without_controls_all_wells_are_the_yardstick():
    x, group, is_control = screen()
    x = x[~is_control]
    x[:, 8] = 10.0 ** np.random.default_rng(2).uniform(-60, 0, len(x))  # as p-values are
    x[17] = 1e12
    found = judge_wells(x, group[~is_control], np.zeros(len(x), bool))
    np.testing.assert_array_equal(np.flatnonzero(found.absurd), [17])
    assert not found.by_controls


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_handful_of_wells_judges_nobody(n):
    x = np.random.default_rng(0).normal(size=(n, 3)) * 1e9 ** np.arange(n)[:, None]
    found = judge_wells(x, np.zeros(n, int), np.ones(n, bool))
    assert not (found.outlier | found.absurd).any()


def test_controls_that_are_all_alike_judge_nobody():
    x, group, is_control = screen()
    x[is_control] = x[0]
    found = judge_wells(x, group, is_control)
    assert not (found.outlier | found.absurd).any()


def test_wells_read_in_small_chunks_are_judged_the_same(monkeypatch):
    x, group, is_control = screen()
    rows_broken = np.flatnonzero(is_control)[[0, 20]]
    x = broken("30 SD", x, group, is_control, rows_broken)
    x[np.flatnonzero(~is_control)[4], 2] = 1e15
    whole = judge_wells(x, group, is_control)
    monkeypatch.setattr(rows, "CHUNK_VALUES", 30 * D)
    parts = judge_wells(x, group, is_control)
    for field in ("outlier", "absurd", "n_absurd", "worst", "exploding"):
        np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field))
