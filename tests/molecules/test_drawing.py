"""Pictures of molecules: small, well formed, and of the molecule that was asked for."""

import sys
from xml.etree import ElementTree

import pytest

from molphenix_jax.molecules import drawing, shipped_smiles
from molphenix_jax.molecules.drawing import LARGEST, draw


def letters(picture: str) -> str:
    return "".join(
        sorted(
            "".join(element.text or "" for element in ElementTree.fromstring(picture).iter("text"))
        )
    )


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [("CCO", "HO"), ("CC(=O)[O-].[Na+]", "+-NOOa"), ("Clc1ccccc1Br", "ClBr"), ("c1ccccc1", "")],
)
def test_a_picture_has_the_letters_of_its_atoms(smiles, expected):
    assert letters(draw([smiles])[0]) == "".join(sorted(expected))


def test_pictures_are_a_tenth_of_rdkits_and_are_told_apart_by_atoms():
    pictures = draw(shipped_smiles()[:100])
    drawn = [picture for picture in pictures if picture]
    assert len(drawn) > 90
    assert sum(map(len, drawn)) / len(drawn) < 2_000
    for picture in drawn:
        root = ElementTree.fromstring(picture)
        assert root.get("viewBox") == "0 0 2000 1400"


def test_a_ring_is_drawn_as_lines_within_the_picture():
    root = ElementTree.fromstring(draw(["C1CCCCC1"])[0])
    (path,) = root.iter("path")
    assert path.get("d", "").count("M") == 6
    assert path.get("stroke") is None  # the colour of the text around it


def test_what_cannot_be_drawn_has_no_picture():
    assert draw(["no SMILES", "", "C" * (LARGEST + 1)]) == ["", "", ""]


def test_a_library_that_only_drawing_needs_is_named_and_stops_nothing(monkeypatch):
    """As on a slim container; a training of hours does not end for want of pictures."""
    drawing._drawing.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw", None)
    with pytest.warns(UserWarning, match="structures are not drawn: .*apt-get install libxrender1"):
        assert draw(["CCO"]) == [""]
    drawing._drawing.cache_clear()
