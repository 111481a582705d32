"""What conditions are called, and what a model is told of them."""

import numpy as np
import pytest

from molphenix_jax.wells.conditions.values import Conditions

TWO = Conditions(("time_h", "cell_line"), (("6", "U2OS"), ("24", "U2OS"), ("24", "A549")))


def test_levels_are_of_columns_that_vary_and_numbers_go_by_size():
    assert TWO.levels == {"time_h": ("6", "24"), "cell_line": ("A549", "U2OS")}
    assert TWO.labels == ("6 h, U2OS", "24 h, U2OS", "24 h, A549")
    times = Conditions(TWO.columns, TWO.values[:2])
    assert list(times.levels) == ["time_h"]
    assert times.labels == ("6 h", "24 h")
    assert Conditions(TWO.columns, TWO.values[:1]).labels == ("6 h, U2OS",)
    assert Conditions().labels == ("",)


def test_one_hot_over_the_levels_of_the_training_screen():
    rows = TWO.encoded(TWO)
    assert rows.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]]
    other = Conditions(("cell_line", "time_h"), (("u-2 os", "24"), ("HeLa", "6"), ("A549", "72")))
    rows = other.encoded(TWO)
    assert rows[0].tolist() == [0, 1, 0, 1]
    # No silent zeros: a level that training lacks has no number.
    assert np.isnan(rows[1]).tolist() == [False, False, True, True]
    assert np.isnan(rows[2]).tolist() == [True, True, False, False]
    assert np.isnan(Conditions().encoded(TWO)).all()
    assert TWO.encoded(Conditions()).shape == (3, 0)


def test_json_and_what_occurs():
    assert Conditions.of_json(TWO.as_json()) == TWO
    kept, code = TWO.kept(np.array([2, 0, 2]))
    assert kept.values == (("6", "U2OS"), ("24", "A549"))
    assert code.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="need 1 values"):
        Conditions(("time_h",), (("6", "U2OS"),))
