"""Rows that are slow to compute are computed once, whatever is asked for beside them."""

import numpy as np
import pytest

from molphenix_jax.storage import StorageError, cached, kept_rows


class Lengths:
    """Computes rows and remembers of what."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        return np.array([[len(text), ord(text[-1])] for text in texts], np.float32)


def texts(first, last):
    return ["C" * n + "N" for n in range(first, last)]


def test_another_list_asks_for_what_it_adds(tmp_path):
    folder, compute = tmp_path / "rows-0123456789abcdef", Lengths()
    first = kept_rows(folder, texts(1, 31) + texts(5, 10), compute)
    assert compute.asked == texts(1, 31)
    assert first[:, 0].tolist() == [len(t) for t in texts(1, 31) + texts(5, 10)]
    again = kept_rows(folder, texts(20, 51)[::-1], compute)
    assert compute.asked == texts(1, 31) + texts(31, 51)[::-1]
    assert again[:, 0].tolist() == [len(t) for t in texts(20, 51)[::-1]]
    assert kept_rows(folder, texts(1, 51), compute).shape == (50, 2)
    assert len(compute.asked) == 50
    assert list(cached(tmp_path)) == [folder]  # `molphenix cache` shows it


def test_a_few_are_not_worth_a_file_and_a_full_folder_takes_no_more(tmp_path, monkeypatch):
    compute = Lengths()
    kept_rows(tmp_path / "few", texts(1, 5), compute)
    assert not (tmp_path / "few").exists()
    monkeypatch.setattr("molphenix_jax.storage.kept.MOST_ROWS", 40)
    kept_rows(tmp_path / "full", texts(1, 31), compute)
    rows = kept_rows(tmp_path / "full", texts(21, 51), compute)
    assert rows[:, 0].tolist() == [len(t) for t in texts(21, 51)]
    assert len(list((tmp_path / "full").iterdir())) == 1


def test_damage_is_named(tmp_path):
    kept_rows(tmp_path, texts(1, 31), Lengths())
    [part] = tmp_path.iterdir()
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(StorageError, match=f"{part.name}.*delete that file"):
        kept_rows(tmp_path, texts(1, 31), Lengths())
