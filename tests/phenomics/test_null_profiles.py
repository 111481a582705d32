"""Control wells kept with a screen: which, how many, and how they are stored."""

import numpy as np
import pytest

from molphenix_jax.phenomics import NullProfiles, draw_controls
from molphenix_jax.phenomics.null_profiles import MOST_NULL_PROFILES


def test_few_controls_are_all_taken_and_many_are_sampled():
    few = np.zeros(100, bool)
    few[[3, 50, 99]] = True
    assert draw_controls(few, seed=0).tolist() == [3, 50, 99]
    many = np.ones(3 * MOST_NULL_PROFILES, bool)
    many[::2] = False
    rows = draw_controls(many, seed=0)
    assert len(np.unique(rows)) == MOST_NULL_PROFILES
    assert many[rows].all()
    assert (np.diff(rows) > 0).all()
    # From the whole screen, not from its first plates; the same again for the same seed.
    assert rows[0] < len(many) * 0.01
    assert rows[-1] > len(many) * 0.99
    np.testing.assert_array_equal(rows, draw_controls(many, seed=0))
    assert (rows != draw_controls(many, seed=1)).any()


def test_they_come_back_from_disk(tmp_path):
    rng = np.random.default_rng(0)
    ours = NullProfiles(
        rng.normal(size=(3, 2)).astype(np.float32),
        np.array(["p1", "p1", "p22"]),
        np.array([0, 0, 1]),
    )
    ours.save(tmp_path / "null.npz")
    theirs = NullProfiles.load(tmp_path / "null.npz")
    np.testing.assert_array_equal(ours.profile, theirs.profile)
    assert theirs.group.tolist() == ["p1", "p1", "p22"]
    assert theirs.condition.tolist() == [0, 0, 1]
    NullProfiles.none(5).save(tmp_path / "null.npz")
    assert NullProfiles.load(tmp_path / "null.npz").profile.shape == (0, 5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "null.npz").write_bytes(content)
    with pytest.raises((ValueError, OSError)):
        NullProfiles.load(tmp_path / "null.npz")
