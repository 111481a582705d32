"""`docs/notebook.ipynb` runs from its first cell to its last, at its smallest size."""

import json
import os
import pathlib
import sys

import pytest

from tests import tiny

NOTEBOOK = tiny.REPOSITORY / "docs" / "notebook.ipynb"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_runs(cache, tmp_path, monkeypatch):
    import nbformat  # seconds of each worker that collects this file
    from nbclient import NotebookClient

    for name, value in tiny.environment(cache).items():
        monkeypatch.setenv(name, value)
    # `molphenix`, as an installation has it.
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("NOTEBOOK_SIZE", "tiny")
    monkeypatch.setenv("MOLPHENIX_CACHE", str(cache / "screens"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}})
    client.execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "error:" not in said
    assert (tmp_path / "notebook_files" / "hits" / "hits.html").exists()


def test_it_is_stored_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
