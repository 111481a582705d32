"""What the repository says of itself holds together, and the wheel gets all that the code reads."""

import pathlib
import tomllib

import pytest
import yaml

from tests import installed

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "molphenix_jax"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_every_file_of_the_package_is_in_the_wheel():
    found = PYPROJECT["tool"]["setuptools"]["packages"]["find"]
    assert found["include"] == ["molphenix_jax*"]
    packaged = set()
    for package, patterns in PYPROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT / package.replace(".", "/")
        packaged |= {path for pattern in patterns for path in folder.glob(pattern)}
    packaged |= {path for path in PACKAGE.rglob("*.py") if (path.parent / "__init__.py").exists()}
    # The link to configs/ is followed once, here as by setuptools.
    files = {*PACKAGE.rglob("*"), *(PACKAGE / "configs").rglob("*")}
    wanted = {path for path in files if path.is_file() and path.suffix not in (".pyc", ".swp")}
    assert wanted - packaged == set()
    assert PACKAGE / "configs" / "s2l.py" in packaged


def test_licences_are_named_and_there():
    assert PROJECT["license"] == "Apache-2.0 AND CC-BY-SA-3.0 AND CC-BY-4.0"
    licence, notice = ((ROOT / name).read_text() for name in PROJECT["license-files"])
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    for held in (
        "molphenix_jax/molecules/chembl/molecules.csv.gz",
        "molphenix_jax/trained/shipped/public-u2os",
        "tests/golden/openphenom",
    ):
        assert held in notice
        assert (ROOT / held).exists()


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= citation.keys()


@pytest.mark.parametrize(
    "extra", ["beam", "faiss", "hub", "images", "tensorboard", "usearch", "bench"]
)
def test_extras_are_not_in_the_plain_installation(extra):
    names = PROJECT["optional-dependencies"][extra]
    assert names
    assert not {*names} & {*PROJECT["dependencies"]}


def test_a_plain_installation_stays_slim():
    names = installed.closure(installed.declared())
    assert {"jax", "rdkit", "tensorstore"} <= names  # tensorstore is Orbax's
    assert not names & {"apache-beam", "datamol", "torch", "tensorflow"}
    assert len(names) <= 100
    assert sum(map(installed.size, names)) < 1.4e9  # docs/contributing.md: 1.36 GB
