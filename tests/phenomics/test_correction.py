import dataclasses

import numpy as np
import pytest

from molphenix_jax.phenomics import Correction, fit_correction
from molphenix_jax.phenomics.whitening import VARIANCE_FLOOR

METHODS = ("centerscale", "pca_cs", "tvn")


def _screen(seed=0, d=6, groups=("a", "b", "c"), n_controls=60, n_treated=40):
    """Groups that differ in mean and covariance; every feature has a scale of its own."""
    rng = np.random.default_rng(seed)
    x, group, control = [], [], []
    units = 10.0 ** rng.uniform(-2, 2, d)
    for name in groups:
        mix = np.eye(d) + 0.3 * rng.normal(size=(d, d))
        n = n_controls + n_treated
        wells = rng.normal(size=(n, d)) @ mix + 0.5 * rng.normal(size=d)
        wells[n_controls:] += rng.normal(size=d)
        x.append(wells * units)
        group += [name] * n
        control += [True] * n_controls + [False] * n_treated
    return np.concatenate(x).astype(np.float32), np.array(group), np.array(control)


def _standardise(x, reference):
    return (x - reference.mean(axis=0)) / reference.std(axis=0)


def test_centerscale_gives_controls_of_each_group_mean_0_and_sd_1():
    x, group, control = _screen()
    y = fit_correction(x, group, control, method="centerscale", clip=0).apply(x, group)
    for name in np.unique(group):
        mine = (group == name) & control
        np.testing.assert_allclose(y[mine].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(y[mine].std(axis=0), 1, atol=1e-5)
        np.testing.assert_allclose(
            y[group == name], _standardise(x[group == name], x[mine]), rtol=2e-3, atol=2e-4
        )


def _axes(z, control):
    """PCA axes of the controls in the order and with the signs of numpy's SVD."""
    centred = z[control] - z[control].mean(axis=0)
    return np.linalg.svd(centred, full_matrices=False)[2].T


def _same_up_to_axis_signs(got, want):
    signs = np.sign((got * want).sum(axis=0))
    np.testing.assert_allclose(got * signs, want, rtol=2e-4, atol=2e-4)


def test_pca_cs_follows_its_definition():
    x, group, control = _screen()
    x = x.astype(np.float64)
    z = _standardise(x, x[control])
    want = (z - z[control].mean(axis=0)) @ _axes(z, control)
    for name in np.unique(group):
        mine = group == name
        want[mine] = _standardise(want[mine], want[mine & control])
    got = fit_correction(x, group, control, method="pca_cs", clip=0).apply(x, group)
    _same_up_to_axis_signs(got, want)


def test_tvn_follows_its_definition():
    x, group, control = _screen()
    x = x.astype(np.float64)
    z = _standardise(x, x[control])
    z = (z - z[control].mean(axis=0)) @ _axes(z, control)
    want = _standardise(z, z[control])
    for name in np.unique(group):
        mine = group == name
        own = want[mine & control]
        value, vector = np.linalg.eigh(np.cov(own, rowvar=False, ddof=1) + 0.5 * np.eye(x.shape[1]))
        want[mine] = (want[mine] - own.mean(axis=0)) @ (vector / np.sqrt(value)) @ vector.T
    got = fit_correction(x, group, control, method="tvn", clip=0).apply(x, group)
    _same_up_to_axis_signs(got, want)


def test_coral_is_the_same_with_fewer_controls_than_features():
    x, group, control = _screen(d=30, n_controls=12)
    fitted = fit_correction(x, group, control, method="tvn")
    e = 2
    part = slice(fitted.coral_start[e], fitted.coral_start[e + 1])
    axes, gain = fitted.coral_axes[part], fitted.coral_gain[part]
    matrix = 0.5**-0.5 * np.eye(30) + axes.T * gain @ axes
    own = fitted._screen_stage(x[control & (group == fitted.groups[e - 1])], 0)
    cov = np.cov(own, rowvar=False, ddof=1) + 0.5 * np.eye(30)
    np.testing.assert_allclose(matrix @ cov @ matrix, np.eye(30), atol=1e-8)


def test_none_changes_nothing():
    x, group, control = _screen()
    np.testing.assert_array_equal(
        fit_correction(x, group, control, method="none").apply(x, group), x
    )


@pytest.mark.parametrize("method", METHODS)
def test_treated_wells_change_no_statistic(method):
    x, group, control = _screen()
    other = x.copy()
    other[~control] = np.random.default_rng(9).normal(size=other[~control].shape) * 1e3
    fitted, refitted = (fit_correction(v, group, control, method=method) for v in (x, other))
    for field in dataclasses.fields(Correction):
        np.testing.assert_array_equal(getattr(fitted, field.name), getattr(refitted, field.name))


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_of_a_whole_batch_is_removed(method):
    x, group, control = _screen()
    shifted = x.copy()
    shifted[group == "b"] += 3 * x[control].std(axis=0)
    y = fit_correction(shifted, group, control, method=method, clip=0).apply(shifted, group)
    centers = [y[control & (group == name)].mean(axis=0) for name in "abc"]
    np.testing.assert_allclose(centers, np.zeros_like(centers), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_without_controls_uses_all_controls_and_says_so(method):
    x, group, control = _screen()
    control[group == "b"] = False
    fitted = fit_correction(x, group, control, method=method)
    assert any("b" in note and "fewer than 2 controls" in note for note in fitted.notes)
    y = fitted.apply(x, group)
    assert np.isfinite(y).all()
    # All controls, corrected as that batch is, are centred: their statistics were used.
    as_b = fitted.apply(x[control], ["b"] * int(control.sum()))
    np.testing.assert_allclose(as_b.mean(axis=0), 0, atol=0.02)


def test_few_controls_keep_the_common_scale():
    x, group, control = _screen()
    rows = np.flatnonzero(control & (group == "b"))
    control[rows[2:]] = False
    x[rows[0]] = x[rows[1]] * (1 + 1e-6)  # two controls that agree by chance
    fitted = fit_correction(x, group, control, method="centerscale")
    assert any("fewer than 4 controls" in note for note in fitted.notes)
    y = fitted.apply(x, group)[group == "b"]
    assert np.abs(y).max() < 10  # their difference as a scale would put all else at the clip


@pytest.mark.parametrize("n_controls", [0, 1])  # one has no spread
@pytest.mark.parametrize("method", METHODS)
def test_without_controls_all_wells_stand_in(method, n_controls):
    x, group, control = _screen()
    control = np.arange(len(x)) < n_controls
    fitted = fit_correction(x, group, control, method=method, clip=0)
    assert fitted.method == "centerscale"
    assert any(f"{n_controls} control wells: nothing" in note for note in fitted.notes)
    y = fitted.apply(x, group)
    for name in "abc":  # 100 wells each: enough for statistics of their own
        np.testing.assert_allclose(y[group == name].mean(axis=0), 0, atol=1e-4)
    few = fit_correction(x[::2], group[::2], np.zeros(150, bool), method=method, clip=0)
    y = few.apply(x[::2], group[::2])
    assert abs(y[group[::2] == "a"].mean(axis=0)).max() > 0.1
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_features_constant_on_controls_are_not_scaled(method):
    x, group, control = _screen()
    x[:, 2] = 7.0
    x[~control, 2] = 8.0
    fitted = fit_correction(x, group, control, method=method)
    assert any("1 features are constant" in note for note in fitted.notes)
    assert fitted.scale[0, 2] == 1
    assert np.isfinite(fitted.apply(x, group)).all()


def test_axes_without_variance_do_not_explode():
    x, group, control = _screen(d=20)
    x[:, 10:] = x[:, :10] * 2 + 1e-5 * np.random.default_rng(0).normal(size=x[:, :10].shape)
    fitted = fit_correction(x, group, control, method="pca_cs")
    assert fitted.rescaled.sum() <= 10
    assert any("PCA axes" in note for note in fitted.notes)
    y = fitted.apply(x, group)
    assert y[:, ~fitted.rescaled].std() < 1e-2 * y[:, fitted.rescaled].std()
    # The gain of the whitening is bounded by the floor (mean variance 1 after standardising).
    gains = np.linalg.norm(fitted.rotation, axis=0)
    assert gains.max() <= VARIANCE_FLOOR**-0.5 * 1.01


def test_treatments_move_along_axes_that_few_controls_do_not_span():
    x, group, control = _screen(d=30, groups=("a",), n_controls=8)
    y = fit_correction(x, group, control, method="tvn").apply(x, group)
    assert np.linalg.matrix_rank(y[~control] - y[~control].mean(axis=0)) >= 29


@pytest.mark.parametrize("method", METHODS)
def test_clip_bounds_one_wild_value(method):
    x, group, control = _screen()
    well = int(np.flatnonzero(~control)[0])
    x[well, 0] = 1e6 * np.abs(x[:, 0]).max()
    free = fit_correction(x, group, control, method=method, clip=0).apply(x, group)
    clipped = fit_correction(x, group, control, method=method, clip=10).apply(x, group)
    assert np.linalg.norm(free[well]) > 1e4
    assert np.linalg.norm(clipped[well]) < 200
    others = np.arange(len(x)) != well
    np.testing.assert_allclose(clipped[others], free[others], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_another_screen_lands_in_the_same_space(method):
    x, group, control = _screen()
    fitted = fit_correction(x, group, control, method=method)
    # The same wells through another microscope: other gain and offset for every feature.
    gain = np.random.default_rng(3).uniform(20, 50, x.shape[1])
    other = (x * gain + 1e3 * gain).astype(np.float64)
    names = np.char.add("new-", group)
    extended = fitted.extend(other, names, control)
    assert extended.groups == ("new-a", "new-b", "new-c")
    np.testing.assert_array_equal(extended.rotation, fitted.rotation)
    np.testing.assert_allclose(
        extended.apply(other, names), fitted.apply(x, group), rtol=1e-3, atol=5e-3
    )
    with pytest.raises(ValueError, match="no correction was fitted for group 'new-a'"):
        fitted.apply(other, names)


@pytest.mark.parametrize("method", METHODS)
def test_another_screen_without_controls(method):
    x, group, control = _screen()
    fitted = fit_correction(x, group, control, method=method)
    none = np.zeros_like(control)
    whole = fitted.extend(x * 40 + 7, group, none)
    assert "centred and scaled on all its wells" in whole.notes[0]
    assert abs(whole.apply(x * 40 + 7, group).mean()) < 0.1
    one = fitted.extend(x[-1:], group[-1:], none[-1:])  # a single profile to look up
    assert "statistics of the first screen" in one.notes[0]
    assert np.abs(one.apply(x[-1:], group[-1:])).max() > 0.1


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_save_and_load_are_exact(method, tmp_path):
    x, group, control = _screen()
    control[group == "b"] = False
    fitted = fit_correction(x, group, control, method=method)
    fitted.save(tmp_path / "correction")
    loaded = Correction.load(tmp_path / "correction")
    for field in dataclasses.fields(Correction):
        saved, read = getattr(fitted, field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(saved, read)
        assert type(saved) is type(read)
    np.testing.assert_array_equal(fitted.apply(x, group), loaded.apply(x, group))


def test_load_refuses_other_files(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz: not a saved correction"):
        Correction.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", center=np.array([{}], object), method=np.array("none"))
    with pytest.raises(ValueError, match="not a saved correction"):
        Correction.load(tmp_path / "pickle.npz")


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named():
    x, group, control = _screen()
    with pytest.raises(ValueError, match="unknown correction 'combat'"):
        fit_correction(x, group, control, method="combat")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="clip"):
        fit_correction(x, group, control, method="tvn", clip=-1)
    with pytest.raises(ValueError, match="group"):
        fit_correction(x, group[:-1], control, method="tvn")
    with pytest.raises(ValueError, match="is_control must be bool"):
        fit_correction(x, group, control.astype(int), method="tvn")
    fitted = fit_correction(x, group, control, method="tvn")
    with pytest.raises(ValueError, match="5 features, the correction was fitted on 6"):
        fitted.apply(x[:, :5], group)
    x[17, 3] = np.nan
    with pytest.raises(ValueError, match="embedding 17 has NaN"):
        fit_correction(x, group, control, method="tvn")


@pytest.mark.parametrize("method", METHODS)
def test_a_plate_without_controls_takes_those_of_its_condition(method):
    x, group, control = _screen(groups=("a", "b", "c", "d"))
    # Plates c and d are another cell line, far from the first two; d has lost its controls.
    second = np.isin(group, ["c", "d"])
    x[second] += 5 * x[control].std(axis=0)
    control &= group != "d"
    fit = lambda pool: fit_correction(x, group, control, method=method, clip=0, pool=pool)  # noqa: E731
    one, two = fit(None), fit(second.astype(int))
    # d is corrected as c is, whose controls are all that its condition has.
    as_c = np.where(group == "d", "c", group)
    np.testing.assert_allclose(two.apply(x, group), two.apply(x, as_c), rtol=1e-5, atol=1e-5)
    assert any("controls of their condition: d" in note for note in two.notes)
    assert not np.allclose(two.apply(x, group), one.apply(x, group), atol=0.1)
    # A condition without any control has nothing of its own.
    alone = fit((group == "d").astype(int))
    np.testing.assert_allclose(alone.apply(x, group), one.apply(x, group), rtol=1e-6)
    # A second screen does the same.
    other = one.extend(x, group, control, pool=second.astype(int))
    assert any("controls of their condition: d" in note for note in other.notes)


@pytest.mark.parametrize("method", METHODS)
def test_another_cell_line_changes_nothing_wherever_it_lies(method):
    x, group, control = _screen(groups=("a", "b", "c", "d"))
    second = np.isin(group, ["c", "d"])
    rng = np.random.default_rng(5)
    moved = x.astype(np.float64)
    moved[second] = moved[second] * 10.0 ** rng.uniform(-2, 2, 6) + 1e3 * rng.normal(size=6)
    pool = second.astype(int)
    near, far = (
        fit_correction(v, group, control, method=method, pool=pool).apply(v, group)
        for v in (x, moved)
    )
    np.testing.assert_allclose(np.abs(far), np.abs(near), rtol=2e-3, atol=2e-3)
    reference = fit_correction(x, group, control, method=method)
    near, far = (reference.extend(v, group, control, pool=pool).apply(v, group) for v in (x, moved))
    np.testing.assert_allclose(far, near, rtol=2e-3, atol=2e-3)


def test_a_condition_of_few_controls_has_a_centre_of_its_own():
    x, group, control = _screen()
    control[np.flatnonzero(control & (group == "c"))[3:]] = False
    x[group == "c"] += 1e3
    fitted = fit_correction(x, group, control, method="pca_cs", pool=(group == "c").astype(int))
    y = fitted.apply(x, group)
    assert np.abs(y[group == "c"].mean(axis=0)).max() < 5
    assert np.abs(y[group == "c"]).std() < 5


def test_corrections_of_before_conditions_had_rows_are_read(tmp_path):
    x, group, control = _screen()
    fitted = fit_correction(x, group, control, method="pca_cs")
    fitted.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as archive:
        old = {name: archive[name] for name in archive.files if name != "stage"}
    np.savez(tmp_path / "old.npz", **old | {n: old[n][0] for n in ("center", "scale")})
    read = Correction.load(tmp_path / "old.npz")
    np.testing.assert_array_equal(read.apply(x, group), fitted.apply(x, group))
