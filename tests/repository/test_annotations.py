"""Annotations of arrays, as `make test-arrays` checks them: a wrong shape does not go unseen."""

import os
import sys

import jaxtyping
import numpy as np
import pytest

from molphenix_jax.evaluation.ranks import rank_of_positive
from tests.annotations import is_checked

Array = jaxtyping.Float[np.ndarray, "n d"]
is_on = pytest.mark.skipif(
    "MOLPHENIX_CHECK_ARRAYS" not in os.environ, reason="annotations are not checked"
)


@is_on
def test_a_wrong_shape_is_found():
    a = np.random.default_rng(0).normal(size=(4, 3))
    rank_of_positive(a, a, np.arange(4))
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'gallery'"):
        rank_of_positive(a, a[:, :2], np.arange(4))


@is_on
def test_every_module_is_checked():
    modules = {name: of for name, of in sys.modules.items() if name.startswith("molphenix_jax.")}
    kinds = {name: type(of.__spec__.loader).__name__ for name, of in modules.items()}
    assert {name for name, kind in kinds.items() if kind == "SourceFileLoader"} == set()
    assert "_JaxtypingLoader" in kinds.values()


@pytest.mark.parametrize(
    ("hint", "checked"),
    [
        (Array, True),
        (Array | None, True),
        (tuple[int, Array], True),
        (int, False),
        (list[str] | None, False),
    ],
)
def test_only_annotations_of_arrays_are_checked(hint, checked):
    assert is_checked(hint) == checked
