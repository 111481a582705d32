"""What people write for nothing, and who takes it for that."""

import pyarrow as pa
import pytest

from molphenix_jax.molecules import standardise
from molphenix_jax.tables.missing import MISSING, NOTHING, UNKNOWN
from molphenix_jax.tables.numbers import style_of
from molphenix_jax.wells.doses.reading import read_doses


def test_the_two_kinds_share_no_word():
    assert not NOTHING & UNKNOWN
    assert all(word == word.casefold().strip() for word in MISSING)


@pytest.mark.parametrize("word", sorted(MISSING))
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_no_number_and_no_molecule(word, change):
    assert style_of(["1.5", *[change(word)] * 9]) == "."
    reason = standardise([change(word)])["error"][0]
    assert reason.startswith("no SMILES")


@pytest.mark.parametrize("word", sorted(MISSING))
def test_a_dose_that_nobody_knows_has_a_reason_and_none_has_not(word):
    doses = read_doses("w.csv", pa.table({"dose": [word, "1", "2"]}))
    assert doses.reason.tolist() == ["concentration is not a number" * (word in UNKNOWN), "", ""]
