"""No other room makes temporary names, renames files or hashes what a cache is named by."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "molphenix_jax"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "storage"]
# What looks like it and is none.
ALLOWED = {
    ("simulated/effects.py", "hashlib"): "names a random stream",
    ("evaluation/protocol.py", "hashlib"): "draws a number by a name",
    ("screens/ties.py", "hashlib"): "tells rows of features apart",
}


def found(tree: ast.AST) -> set[str]:
    """What a module does that is this room's business."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names} & {"hashlib", "tempfile"}
        if isinstance(node, ast.ImportFrom) and node.module in ("hashlib", "tempfile"):
            names.add(node.module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {end for end in (".tmp", ".work", ".part") if node.value.endswith(end)}
        # Of paths: those of text and of tables have two arguments, or keywords.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            one = len(node.args) == 1 and not node.keywords
            if (one and node.func.attr in ("rename", "replace")) or (
                isinstance(node.func.value, ast.Name)
                and node.func.value.id == "os"
                and node.func.attr in ("rename", "replace", "link", "open")
            ):
                names.add(node.func.attr)
    return names


def test_it_is_seen():
    old = """
import hashlib, os
temporary = path.with_suffix(".tmp")
temporary.replace(path)
os.replace(temporary, path)
text.replace("a", "b"), table.rename(columns={}), dataclasses.replace(a, b=1)
"""
    assert found(ast.parse(old)) == {"hashlib", ".tmp", "replace"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_published_by_storage_alone(path):
    name = str(path.relative_to(PACKAGE))
    allowed = {what for file, what in ALLOWED if file == name}
    assert found(ast.parse(path.read_text())) == allowed
