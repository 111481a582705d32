"""Two unseen screens whose files have one name, in folders of their own."""

import pytest

from tests import tiny


@pytest.mark.slow
def test_they_are_kept_apart_by_their_folders(cache, tmp_path):
    for seed, folder in enumerate("ab", 1):
        (tmp_path / folder).mkdir()
        tiny.wells(cache, seed=seed).to_parquet(tmp_path / folder / "wells.parquet")
    given = ",".join(str(tmp_path / folder / "wells.parquet") for folder in "aba")
    task, _ = tiny.make(tiny.config(cache, eval__unseen_screens=given), tmp_path / "run")
    assert list(task.unseen) == ["a/wells", "b/wells"]
    first, second = task.unseen.values()
    assert first.provenance != second.provenance
