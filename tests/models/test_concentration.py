import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models import ConcentrationEncoding

DOSES = np.array([0.1, 1.0, 10.0, 10.0])


def encode(kind, doses, fitted_on=DOSES):
    return np.asarray(ConcentrationEncoding.fit(fitted_on, kind=kind)(jnp.asarray(doses)))


def test_onehot_marks_the_dose_and_the_nearest_for_an_unseen_one():
    doses = [0.1, 10.0, 3.0, 3.3, 1000.0, 1e-6]
    np.testing.assert_array_equal(encode("onehot", doses).argmax(axis=1), [0, 2, 1, 2, 2, 0])
    assert (encode("onehot", doses).sum(axis=1) == 1).all(), "never all zero"
    encoding = ConcentrationEncoding.fit(DOSES, kind="onehot")
    off = encoding.off_grid(np.array([*doses, 1.04], np.float32))
    assert off.tolist() == [False, False, True, True, True, True, False]
    assert not ConcentrationEncoding.fit(DOSES, kind="log").off_grid(np.array([3.0])).any()


def test_onehot_takes_near_equal_doses_as_one():
    encoding = ConcentrationEncoding.fit(np.array([3.3, 3.33, 10.0]), kind="onehot")
    assert encoding.width == 2
    np.testing.assert_array_equal(encoding(jnp.asarray([3.3, 3.33])), [[1, 0], [1, 0]])


def test_log_is_standardised_on_the_training_doses():
    values = encode("log", DOSES)[:, 0]
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=1e-6)
    assert np.all(np.diff(values[:3]) > 0)


def test_log_of_a_single_dose_is_zero():
    np.testing.assert_allclose(encode("log", [10.0], np.array([10.0, 10.0])), 0, atol=1e-6)


def test_sigmoid_is_half_at_one_micromolar():
    values = encode("sigmoid", [1.0, 10.0, 0.1])[:, 0]
    assert values[0] == pytest.approx(0.5)
    assert values[1] == pytest.approx(1 / (1 + np.exp(-1)))
    assert values[1] + values[2] == pytest.approx(1)


def test_none_has_no_columns():
    assert encode("none", DOSES).shape == (4, 0)


def test_unknown_kind_and_zero_dose_are_errors():
    with pytest.raises(ValueError, match="choose one of"):
        ConcentrationEncoding.fit(DOSES, kind="raw")
    with pytest.raises(ValueError, match="above 0"):
        ConcentrationEncoding.fit(np.array([0.0, 1.0]), kind="log")
