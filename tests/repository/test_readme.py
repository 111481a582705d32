"""What the README and docs name exists as it stands; their commands are run by `documented/`."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_PATH = re.compile(r"`((?:molphenix_jax|tests|configs|docs|\.ci)/[\w/.-]*)`")
_PLACES = re.compile(r"docs/method\.md((?: ?(?:and|,|§[\d.]*\d|rows? [\d to]+))+)")
NAMED = sorted(
    (page.name, path)
    for page in PAGES
    for path in set(_PATH.findall(page.read_text()))
    if "NAME" not in path  # stands for another
)


@pytest.mark.parametrize(("page", "path"), NAMED, ids=[" ".join(each) for each in NAMED])
def test_path_exists(page, path):
    assert (ROOT / path).exists()


def test_readme_is_short_and_names_every_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for page in PAGES[1:]:
        assert f"`docs/{page.name}`" in text


def test_sections_and_rows_of_the_method_exist():
    """`docs/method.md §14 row 6` in code points to what is there."""
    method = (ROOT / "docs" / "method.md").read_text()
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)", method, re.MULTILINE))
    rows = set(re.findall(r"^\| (\d+) \|", method.partition("## 14")[2], re.MULTILINE))
    found = 0
    for path in (p for room in ("molphenix_jax", "configs", "tests") for p in _files(room)):
        text = re.sub(r"\s+(?:# )?", " ", path.read_text())
        for named in re.findall(_PLACES, text):
            found += 1
            assert set(re.findall(r"§(\d+(?:\.\d+)?)", named)) <= sections, path
            for listed in re.findall(r"rows? ([\d to]+)", named):
                assert set(re.findall(r"\d+", listed)) <= rows, path
    assert found > 40


def _files(room):
    return sorted((ROOT / room).rglob("*.py"))
