"""What makes an index: parts from anywhere, and what is said where they do not fit."""

import shutil

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.retrieval import LibraryError, open_index
from molphenix_jax.retrieval.index import folder as folders
from tests.retrieval.index import saving

Z = saving.vectors(40, 2, 16)


def parts(path):
    return sorted(path.glob("part-*"))


@pytest.mark.slow
def test_shards_made_elsewhere_are_one_index(tmp_path):
    saving.write(tmp_path / "whole", Z, shards=4, chunk=3)
    for shard in (3, 1, 4, 2):
        saving.write(tmp_path / f"job{shard}", Z, shards=4, chunk=3, only=shard)
        for part in parts(tmp_path / f"job{shard}"):
            shutil.copytree(part, tmp_path / "joined" / part.name)
    joined, whole = open_index(tmp_path / "joined"), open_index(tmp_path / "whole")
    assert joined.molecules.equals(whole.molecules)
    np.testing.assert_array_equal(joined.embeddings(np.arange(40)), Z)
    assert joined.about["model"] == {"name": "runs/mine", "digest": "d" * 64}
    assert "40 molecules at 1, 10 µM" in repr(joined)


def test_more_shards_than_molecules(tmp_path):
    saving.write(tmp_path, Z[:3], shards=5)
    assert len(parts(tmp_path)) == 3
    assert len(open_index(tmp_path)) == 3


def lose(path):
    shutil.rmtree(parts(path)[2])


def lose_shard(path):
    for part in path.glob("part-*-003-of-004-*"):
        shutil.rmtree(part)


def lose_two_shards(path):
    lose_shard(path)
    for part in path.glob("part-*-004-of-004-*"):
        shutil.rmtree(part)


def double(path):
    shutil.copytree(parts(path)[0], path / "copy")


def other_split(path):
    saving.write(path, Z, shards=2, only=1)


def other_model(path):
    saving.write(path, Z, number=1, library="more.csv", digest="e" * 64)


def other_doses(path):
    saving.write(path, Z, number=1, library="more.csv", doses=(1.0, 30.0))


def cut(path):
    file = parts(path)[0] / folders.EMBEDDINGS_FILE
    file.write_bytes(file.read_bytes()[:-1])


def without_manifest(path):
    (parts(path)[0] / folders.MANIFEST_FILE).unlink()


def without_embeddings(path):
    (parts(path)[0] / folders.EMBEDDINGS_FILE).unlink()


def change_a_dose(path):
    file = parts(path)[0] / folders.MANIFEST_FILE
    file.write_text(file.read_text().replace("10.0", "20.0"))


def no_json(path):
    (parts(path)[0] / folders.MANIFEST_FILE).write_text("{")


def newer(path):
    file = parts(path)[0] / folders.MANIFEST_FILE
    file.write_text(file.read_text().replace('"format": 1', '"format": 99'))


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose, r"of library.csv shard 1/4 is missing, 1 of its 4 parts\. Put .*--shard=1/4"),
        (lose_shard, "of library.csv shard 3/4 is missing, all. "),
        (lose_two_shards, r"shard 3/4 is missing, all \(2 of 4 shards are missing\)"),
        (double, "are the same part, chunk 0 of shard 1/4 of library.csv: delete one"),
        (other_split, "twice: shard 1/2 lies beside shards of 4"),
        (other_model, r"different indexes: model is runs/mine \(dddddddddddd\) .* \(eeeeeeeeeeee"),
        (other_doses, r"doses_um is \[1.0, 10.0\] in one and \[1.0, 30.0\]"),
        (cut, "damaged: embeddings.npy is not the file"),
        (without_manifest, "has no manifest.json: copy the part again"),
        (without_embeddings, "is damaged"),
        (change_a_dose, "damaged: manifest.json"),
        (no_json, "damaged: manifest.json"),
        (newer, "index format 99, this program reads up to 1"),
        (empty, "is no index: it has no part"),
        (shutil.rmtree, "is no index: it has no part"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    saving.write(tmp_path / "INDEX", Z, shards=4, chunk=3)
    change(tmp_path / "INDEX")
    with pytest.raises(LibraryError, match=message):
        open_index(tmp_path / "INDEX")


def test_one_job_that_was_killed(tmp_path):
    saving.write(tmp_path, Z, chunk=15)
    shutil.rmtree(parts(tmp_path)[1])
    with pytest.raises(LibraryError, match="library.csv 1 of its 3 parts are missing. The same"):
        open_index(tmp_path)


def test_no_molecule(tmp_path):
    saving.write(tmp_path, Z[:0], only=1, shards=1)
    folders.write_part(
        tmp_path,
        folders.Place(0, "0" * 64, 1, 1, 0, 1),
        embeddings=Z[:0],
        molecules=saving.molecules(np.zeros(0, int)),
        rejected=pd.DataFrame(
            {"row": [1], "field": "smiles", "value": "=x", "reason": "not a valid SMILES"}
        ),
        about=saving.manifest(rows=1),
    )
    with pytest.raises(LibraryError, match=r"holds no molecule: .*/rejected.csv says why"):
        open_index(tmp_path)


def test_a_half_written_part_is_none(tmp_path, monkeypatch):
    """What a killed process leaves has a private name, which is no part's."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders.pq, "write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        saving.write(tmp_path, Z)
    assert not parts(tmp_path)


def test_a_part_that_is_being_written_does_not_count(tmp_path):
    """Whole but for its name, as a process leaves it that is killed in the last moment."""
    saving.write(tmp_path, Z)
    shutil.copytree(parts(tmp_path)[0], tmp_path / f".part-x-{parts(tmp_path)[0].name}")
    assert len(open_index(tmp_path)) == 40
