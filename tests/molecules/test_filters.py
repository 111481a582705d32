"""Limits on properties, as people write them."""

import pytest

from molphenix_jax.molecules.filters import (
    PROPERTIES,
    FilterError,
    parse_limits,
    properties,
    within_limits,
)

ETHANOL, ASPIRIN = "CCO", "CC(=O)Oc1ccccc1C(=O)O"


def test_limits_are_read():
    assert parse_limits("") == ()
    assert parse_limits(" MW < 500 ,logp<=-1.5,hbd=2,tpsa>=1e2") == (
        ("mw", "<", 500.0),
        ("logp", "<=", -1.5),
        ("hbd", "=", 2.0),
        ("tpsa", ">=", 100.0),
    )


@pytest.mark.parametrize("text", ["mw", "mw<x", "mw<1.2.3", "weight<5", "5<mw", "mw<5;hbd<3"])
def test_what_is_no_limit_is_named(text):
    with pytest.raises(FilterError, match="is no limit such as mw<500; properties are mw, logp"):
        parse_limits(text)


def test_molecules_keep_limits_or_not():
    def kept(text):
        return within_limits([ETHANOL, ASPIRIN], parse_limits(text)).tolist()

    assert kept("mw<100") == [True, False]
    assert kept("hbd=1") == [True, True]
    assert kept("hba>1") == [False, True]
    assert kept("rings>=1,mw<500") == [False, True]
    assert kept("") == [True, True]
    assert within_limits([], parse_limits("mw<5")).tolist() == []


def test_properties_are_those_of_the_molecules():
    values = properties([ETHANOL, ASPIRIN], list(PROPERTIES))
    of = dict(zip(PROPERTIES, values.T, strict=True))
    assert of["mw"] == pytest.approx([46.07, 180.16], abs=0.01)
    assert of["rings"].tolist() == [0, 1]
    assert of["heavy_atoms"].tolist() == [3, 13]
    assert of["rotatable"].tolist() == [0, 2]
