"""How several screens are named: `data.wells` and `data.shares`."""

import pytest

from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.tasks.align.config import config_from_arg, default_config
from molphenix_jax.tasks.named_screens import named_entry, named_screens, rows_of, shares_of


def config(wells: str, shares: str = "", batch_size: int = 64):
    c = default_config(wells=wells)
    c.data.shares, c.train.batch_size = shares, batch_size
    return c


def test_a_name_begins_a_screen():
    assert named_screens("a=x.csv,y.csv,b-2=/d/z.parquet") == {
        "a": "x.csv,y.csv",
        "b-2": "/d/z.parquet",
    }
    assert named_screens("x.csv,y.csv") == {}
    assert named_screens("") == {}
    arg = config_from_arg("wells=a=x.csv+y.csv+b=z.csv", loss="s2l")
    assert named_screens(arg.data.wells) == {"a": "x.csv,y.csv", "b": "z.csv"}


def test_a_file_with_an_equals_sign_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day=1.csv").touch()
    assert named_entry("day=1.csv") == ("", "day=1.csv")
    assert named_screens("day=1.csv") == {}
    assert named_screens("a=day=1.csv") == {"a": "day=1.csv"}
    assert named_entry("/data/day=1/x.csv") == ("", "/data/day=1/x.csv")


def test_shares_and_rows():
    assert shares_of(config("a=x,b=y")) == {"a": 0.5, "b": 0.5}
    assert shares_of(config("a=x,b=y", "a=3")) == {"a": 0.75, "b": 0.25}
    assert rows_of(config("a=x,b=y", "a=3")) == {"a": 48, "b": 16}
    assert rows_of(config("a=x,b=y", "a=0")) == {"a": 0, "b": 64}
    assert rows_of(config("a=x,b=y,c=z", batch_size=300)) == {"a": 100, "b": 100, "c": 100}
    assert rows_of(config("x")) == {}


@pytest.mark.parametrize(
    ("wells", "shares", "said"),
    [
        ("a=x,a=y", "", "two screens are called a"),
        ("x,a=y", "", "x has no name and others have"),
        ("a=x,b=y", "c=1", "'c' is none of the screens of data.wells (a, b)"),
        ("x", "a=1", "names none"),
        ("a=x,b=y", "a", "'a' is no NAME=NUMBER"),
        ("a=x,b=y", "a=much", "no NAME=NUMBER"),
        ("a=x,b=y", "a=-1", "from 0"),
        ("a=x,b=y", "a=nan", "from 0"),
        ("a=x,b=y", "a=0,b=0", "none is left"),
        ("a=x,b=y", "a=100", "leaves 0 pairs of b"),
    ],
)
def test_what_cannot_be_is_said(wells, shares, said):
    with pytest.raises(ConfigError) as error:
        rows_of(config(wells, shares))
    assert said in str(error.value)
