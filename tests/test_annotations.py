"""Annotations of arrays, as `make test-arrays` checks them: a wrong shape does not go unseen."""

import subprocess
import sys

import jaxtyping
import numpy as np
import pytest

from tests import tiny
from tests.annotations import is_checked

Array = jaxtyping.Float[np.ndarray, "n d"]
PROGRAM = """
import jaxtyping, tests.annotations
jaxtyping.install_import_hook("molphenix_jax.evaluation", "tests.annotations.check")
import numpy as np
from molphenix_jax.evaluation.ranks import rank_of_positive
a = np.random.default_rng(0).normal(size=(4, 3))
rank_of_positive(a, a, np.arange(4))
try:
    rank_of_positive(a, a[:, :2], np.arange(4))
except jaxtyping.TypeCheckError as error:
    assert "parameter 'gallery'" in str(error), error
else:
    raise SystemExit("a wrong width went unseen")
"""


@pytest.mark.slow
def test_a_wrong_shape_is_found():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=tiny.REPOSITORY)


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
