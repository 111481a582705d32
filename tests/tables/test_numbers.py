"""Numbers as text: decimal commas, thousands, and what may be either."""

import numpy as np
import pyarrow as pa
import pytest

from molphenix_jax.tables.numbers import are_codes, numbers_of, style_of


@pytest.mark.parametrize(
    ("texts", "style"),
    [
        (["1.5", "-2", "3e-4", " .5 ", "", "nan"], "."),
        (["1,5", "-2", "3,1E-4", ",5", "n/a"], ","),
        (["0,123", "1,456"], ","),  # no group of thousands begins with 0
        (["1.234,5", "2"], ","),
        (["1,234.5", "2"], ".,"),
        (["1,234", "2"], "?"),
        (["1,5", "1,234.5"], "?"),
        (["\u22121,5", "1\u202f234,25", "12 %"], ","),
        (["a", "b", "1"], None),
        (["1,2,3", "4,5,6"], None),
        (["2021-03-04", "1.5"], None),
    ],
)
def test_how_numbers_are_written(texts, style):
    assert style_of(texts) == style


@pytest.mark.parametrize(
    ("texts", "style", "numbers"),
    [
        (["1.5", "-2", "", None, "word", "12 %"], ".", [1.5, -2, np.nan, np.nan, np.nan, 12]),
        (["1,5", "3,1E-4", None], ",", [1.5, 3.1e-4, np.nan]),
        (["1.234,5", "1,5", "2.5", "1.500"], ",", [1234.5, 1.5, 2.5, np.nan]),
        (["1,234.5", "1,234", "1,5"], ".,", [1234.5, 1234, np.nan]),
        (["1,5", "x"], ".", [np.nan, np.nan]),
    ],
)
def test_numbers_of_text(texts, style, numbers):
    for kind in (pa.string(), pa.large_string()):
        column = pa.chunked_array([pa.array(texts, kind)])
        np.testing.assert_array_equal(numbers_of(column, style), numbers)
        np.testing.assert_array_equal(numbers_of(column.dictionary_encode(), style), numbers)


def test_codes():
    assert are_codes(["0012", "7", ""])
    assert not are_codes(["0012", "7.5"])
    assert not are_codes([""])
