"""What an extra brings: a sentence where it is missing, and where it is broken."""

import sys

import pytest

from molphenix_jax import extras


def test_a_missing_package_is_said():
    with pytest.raises(
        extras.MissingExtraError, match=r"TIFF needs nothing_here, which is not installed: pip"
    ):
        extras.load("nothing_here", extra="images", what="TIFF")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_else", "No module named 'nowhere_else'"),
        ("raise ImportError('symbol')", ""),
    ],
)
def test_a_broken_package_is_said(tmp_path, monkeypatch, text, reason):
    (tmp_path / "broken_here.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_here", raising=False)
    said = rf"is installed and cannot be loaded \({reason or 'symbol'}\): pip .*--force-reinstall"
    with pytest.raises(extras.MissingExtraError, match=said):
        extras.load("broken_here", extra="usearch", what="an index")
