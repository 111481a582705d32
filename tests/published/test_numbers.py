"""Published numbers are those that were copied from the papers: each table has its SHA-256 here.

Whoever corrects one against its source changes the digest with it, in the same commit.
"""

import pytest

from molphenix_jax.ablations import grid
from molphenix_jax.ablations.figured import FIGURED
from molphenix_jax.ablations.page import UNBUILT
from molphenix_jax.published import numbers
from molphenix_jax.storage import digest_json

LOCKED = {
    "BRAY2017": "cd717c15e16c3aa87b6225e9de385ad0b718778cabe25f42b04ff458042558db",
    "BRAY2017_CAUTION": "96a5487566ab2065719b15971f0f6df99b6448ead2185a2a3671725c9091a202",
    "BRAY2017_GALLERY": "4459b2909cef1e99ddfb4be233208753a4ed2f43343df6d5b4561c5e9ead51c9",
    "BRAY2017_SOURCE": "a37f0a7b84187b1b673d7f365fbe4ebbb195069aa9aa85070166718749fdffa5",
    "RELATIONS": "8945f8a84941859cae283fe122000134b76bfc4f9a50a1ac3dd223e1467da53a",
    "RELATIONS_SOURCE": "6838861c1a5d52bb194fa35391fb8f311dc3a2f0c1b37e934d592a73878dbee8",
    "RELATION_RECALL": "38dd1c3c87e0932f59db06004e700a8838fee60611d5430e62cdbadba2a5d3ad",
    "REPLICATES_SOURCE": "9cd7b7f826c68d2e3863951b4c378f9d4abfcf498e02911d9ea483752fabaeb9",
    "REPLICATE_MAP": "0f02df4fd27a5b9ba6c0d327ca8b0ee48d4e475fcd568a54a5bb6aefb1bca2a6",
}
CLAIMS = "b08c4cfa5bea4dc4d34bf7e3b528542044d15c90bde0d18f7252da2dc9a4c03c"


def told() -> set[str]:
    """Names of what the module holds of papers."""
    return {name for name in vars(numbers) if name.isupper() and not name.startswith("_")}


def claims() -> list[list[str]]:
    """Each claim with the number that the paper has for it, where it has one."""
    found = [(c.text, c.paper) for c in (*FIGURED, *UNBUILT)]
    for name in grid.names():
        found += [(c.text, c.paper) for c in grid.load(name, "full").claims]
    numbers_of = (f for f in found if not f[1].startswith("not") and any(map(str.isdigit, f[1])))
    return sorted([text, paper] for text, paper in numbers_of)


@pytest.mark.parametrize("name", sorted(told()))
def test_a_table_is_as_it_was_copied(name):
    assert digest_json(getattr(numbers, name)) == LOCKED.get(name, "no digest of it here")


def test_every_digest_is_of_a_table():
    assert set(LOCKED) == told()


def test_the_paper_s_own_numbers_are_as_they_were_copied():
    assert len(claims()) >= 5
    assert digest_json(claims()) == CLAIMS
