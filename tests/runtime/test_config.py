import json

import ml_collections
import pytest

from molphenix_jax.runtime.config import (
    ConfigError,
    differences,
    parse_arg,
    plain,
)


def test_parse_arg_takes_the_types_of_the_defaults():
    args = parse_arg("wells=a.csv,n=3,fast", wells="", n=1, fast=False, rate=0.5)
    assert (args.wells, args.n, args.fast, args.rate) == ("a.csv", 3, True, 0.5)


def test_parse_arg_joins_lists_by_plus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = parse_arg("wells=a.csv+ b.csv,molecules=maccs", wells=(), molecules=(), labels=("x",))
    assert (args.wells, args.molecules) == (("a.csv", "b.csv"), ("maccs",))
    assert args.labels == ("x",)
    assert parse_arg("wells=", wells=()).wells == ()
    (tmp_path / "U2OS+A549.csv").touch()  # a name of its own
    assert parse_arg("wells=U2OS+A549.csv", wells=()).wells == ("U2OS+A549.csv",)


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("wells=a++b", "has an empty entry between two"),
        (
            "wells=a,wells=b",
            "wells is given twice; several values are joined by +, as in wells=A+B",
        ),
        ("n=1,n=2", "n is given twice"),
        ("n", "n has no value: give n=VALUE"),
        ("wells", "wells has no value"),
    ],
)
def test_parse_arg_guesses_nothing(arg, message):
    with pytest.raises(ConfigError) as failed:
        parse_arg(arg, wells=(), n=1)
    assert message in str(failed.value)


@pytest.mark.parametrize("arg", ["speed=3", "n=three", "fast=perhaps"])
def test_parse_arg_refuses_what_it_does_not_know(arg):
    with pytest.raises(ConfigError, match=arg.split("=")[0]):
        parse_arg(arg, n=1, fast=False)


def test_differences_names_leaves():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    new = {"a": {"b": 1, "c": 4}, "e": 5}
    assert differences(old, new) == ["a.c: 2 → 4", "d: 3 → 'absent'", "e: 'absent' → 5"]


def test_plain_is_what_json_gives_back():
    config = ml_collections.ConfigDict({"a": (1, 2), "b": {"c": None}})
    assert json.loads(json.dumps(plain(config))) == plain(config)
