"""Wells to a screen, against a brute-force reading of the same table; the cache and its key."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.evaluation import rank_of_positive, recall_at
from molphenix_jax.molecules import standardise
from molphenix_jax.screens.prepare import prepare, prepare_simulated
from molphenix_jax.screens.screen import PackedBlock, Screen, ScreenError
from molphenix_jax.simulated.screen import TINY
from tests import tiny

pytestmark = pytest.mark.slow

SALTY = dataclasses.replace(TINY, salt_rate=1.0)


@pytest.fixture(scope="module")
def simulated(cache):
    """A screen that half of its wells list as hydrochlorides, prepared: (screen, wells table)."""
    prepared = prepare_simulated(SALTY, tiny.prepare_config(), cache=cache / "salty")
    (path,) = (cache / "salty").glob("simulated-wells-*/wells.parquet")
    return prepared.in_memory(), pd.read_parquet(path)


@pytest.fixture
def path(cache, tmp_path) -> pathlib.Path:
    """A file of the tiny wells table of its own."""
    tiny.wells(cache).to_parquet(tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


@pytest.fixture(scope="module")
def kept(cache, tmp_path_factory) -> pathlib.Path:
    """A cache folder that already holds the screen of `path`, to be copied."""
    folder = tmp_path_factory.mktemp("kept")
    tiny.wells(cache).to_parquet(folder / "mine.parquet")
    prepare(folder / "mine.parquet", tiny.prepare_config(), cache=folder / "c")
    return folder / "c"


def same(a: Screen, b: Screen) -> None:
    for field in dataclasses.fields(Screen):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if field.name == "archive":
            np.testing.assert_array_equal(ours.correction.rotation, theirs.correction.rotation)
            np.testing.assert_array_equal(ours.null.profile, theirs.null.profile)
            np.testing.assert_array_equal(ours.null.group, theirs.null.group)
        elif field.name == "blocks":
            assert set(ours) == set(theirs)
            for name, block in ours.items():
                assert isinstance(block, PackedBlock)
                assert block.width == theirs[name].width
                np.testing.assert_array_equal(block.packed, theirs[name].packed)
        elif field.name == "molecules":
            pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        elif isinstance(ours, np.ndarray):
            assert ours.dtype.kind == theirs.dtype.kind
            np.testing.assert_array_equal(ours, theirs)
        elif field.name != "provenance":
            assert ours == theirs


# Grouping.


def test_perturbations_are_those_of_a_groupby(simulated):
    screen, wells = simulated
    treated = wells[~wells["is_control"]].reset_index(drop=True)
    treated["inchikey"] = standardise(treated["smiles"].tolist())["inchikey"].to_numpy()
    assert treated["smiles"].nunique() > treated["inchikey"].nunique(), "no salt to merge"
    x = np.stack(treated["embedding"].to_list())
    corrected = screen.archive.correction.apply(x, treated["plate"].to_numpy(str))
    expected = {
        (key, np.float32(dose)): corrected[rows.to_numpy()]
        for (key, dose), rows in treated.groupby(["inchikey", "concentration_um"]).groups.items()
    }
    assert len(expected) == screen.n_perturbations
    assert screen.offsets[0] == 0
    assert screen.offsets[-1] == len(screen.replicates) == len(treated)
    keys = screen.molecules["inchikey"].to_numpy()[screen.molecule]
    for i, key in enumerate(zip(keys, screen.concentration_um, strict=True)):
        own = screen.replicates[screen.offsets[i] : screen.offsets[i + 1]]
        np.testing.assert_array_equal(own, expected[key])
        np.testing.assert_array_equal(screen.perturbation_of_replicate == i, _span(screen, i))


def _span(screen: Screen, i: int) -> np.ndarray:
    rows = np.arange(len(screen.replicates))
    return (rows >= screen.offsets[i]) & (rows < screen.offsets[i + 1])


def test_perturbations_are_sorted_by_molecule_and_dose(simulated):
    screen, _ = simulated
    order = np.lexsort((screen.concentration_um, screen.molecule))
    np.testing.assert_array_equal(order, np.arange(screen.n_perturbations))
    assert screen.molecules["inchikey"].is_unique


def test_profiles_are_means_of_the_wells_that_count(simulated):
    screen, _ = simulated
    ids = np.flatnonzero(screen.n_replicates >= 2)[[5, 2, 9]]
    own = [screen.replicates[_span(screen, i)] for i in ids]
    np.testing.assert_allclose(screen.profiles(ids), [x.mean(0) for x in own], rtol=1e-5, atol=1e-6)
    wells = np.ones(len(screen.replicates), bool)
    wells[screen.offsets[ids]] = False
    np.testing.assert_allclose(
        screen.profiles(ids, wells=wells), [x[1:].mean(0) for x in own], rtol=1e-5, atol=1e-6
    )


def test_doses_that_differ_by_rounding_are_one(cache, path, tmp_path):
    wells = pd.read_parquet(path)
    second = (wells["batch"] == "experiment-2") & ~wells["is_control"]
    wells.loc[second, "concentration_um"] *= 1.000001
    wells.loc[~second & ~wells["is_control"], "concentration_um"] *= 0.1
    wells.loc[second, "concentration_um"] *= 0.1
    wells.to_parquet(tmp_path / "rounded.parquet")
    assert wells["concentration_um"].nunique() == 5
    screen = prepare(
        tmp_path / "rounded.parquet", tiny.prepare_config(), cache=tmp_path
    ).in_memory()
    np.testing.assert_allclose(np.unique(screen.concentration_um), [0.1, 1.0], rtol=1e-6)
    assert screen.n_perturbations == 120


# The truth of a simulated screen.


def test_the_truth_lies_with_its_perturbation(simulated):
    screen, _ = simulated
    n = screen.n_perturbations
    assert screen.truth is not None
    profile = screen.profiles(np.arange(n))
    rank = rank_of_positive(profile, screen.truth, np.arange(n), metric="euclidean").pessimistic
    # Most perturbations at these doses do nothing, and nobody can tell those apart.
    assert recall_at(rank, n, 5.0) > 0.25
    active = np.linalg.norm(screen.truth, axis=1) > np.quantile(
        np.linalg.norm(screen.truth, axis=1), 0.8
    )
    assert recall_at(rank[active], n, 5.0) > 0.8


# Another screen in the same space.


def test_an_unseen_screen_is_extended_from_the_first(cache, path, tmp_path):
    reference = prepare(path, tiny.prepare_config(), cache=tmp_path).in_memory()
    other = tiny.wells(cache, seed=1)
    other.to_parquet(tmp_path / "other.parquet")
    extended = prepare(
        tmp_path / "other.parquet", tiny.prepare_config(), cache=tmp_path, reference=reference
    ).in_memory()
    ours, theirs = extended.archive.correction, reference.archive.correction
    np.testing.assert_array_equal(ours.rotation, theirs.rotation)
    assert extended.feature_names == reference.feature_names
    alone = prepare(tmp_path / "other.parquet", tiny.prepare_config(), cache=tmp_path).in_memory()
    assert not np.allclose(alone.archive.correction.rotation, reference.archive.correction.rotation)
    # Controls of the other screen lie where those of the first do.
    controls = other[other["is_control"]]
    x = extended.archive.correction.apply(
        np.stack(controls["embedding"].to_list()), controls["plate"].to_numpy(str)
    )
    np.testing.assert_allclose(x.mean(0), 0, atol=0.05)


# The cache.


def test_a_second_call_finds_the_same_screen(cache, path, tmp_path):
    said: list[str] = []
    first = prepare(path, tiny.prepare_config(), cache=tmp_path / "c")
    second = prepare(path, tiny.prepare_config(), cache=tmp_path / "c", say=said.append)
    assert len(said) == 1
    assert "found" in said[0]
    same(second.in_memory(), first.in_memory())
    assert len(second.archive.rejected) == len(first.archive.rejected) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"correction": "centerscale"},
        {"clip": 3.0},
        {"n_null": 300},
        {"seed": 1},
        {"blocks": ("physchem",)},
        {"group_by": "batch"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_parameter_is_another_screen(kept, path, tmp_path, changes):
    shutil.copytree(kept, tmp_path / "c")
    there = set((tmp_path / "c").iterdir())
    same_one = prepare(path, tiny.prepare_config(), cache=tmp_path / "c").folder
    assert same_one in there
    other = prepare(path, tiny.prepare_config(**changes), cache=tmp_path / "c").folder
    assert other not in there


def test_another_content_is_another_screen(path, tmp_path):
    before = prepare(path, tiny.prepare_config(), cache=tmp_path / "c")
    first = before.in_memory()
    wells = pd.read_parquet(path)
    wells["smiles"] = wells["smiles"].replace(wells["smiles"].dropna().iloc[0], "not a molecule")
    wells.to_parquet(path)
    second = prepare(path, tiny.prepare_config(), cache=tmp_path / "c")
    assert second.folder != before.folder
    assert len(second.molecules) == len(first.molecules) - 1
    again = prepare(path, tiny.prepare_config(), cache=tmp_path / "c")
    assert again.folder == second.folder
    pd.testing.assert_frame_equal(
        again.archive.rejected, second.archive.rejected, check_dtype=False
    )
    assert len(again.archive.rejected)


@pytest.mark.parametrize(
    "name",
    [
        "index.npz",
        "correction.npz",
        "screen.json",
        "rejected.csv",
        "perturbations/1.0.0/dataset_info.json",
        "perturbations/1.0.0/perturbations-screen.array_record-00000-of-00001",
        "molecules/1.0.0/features.json",
        "molecules/1.0.0/molecules-screen.array_record-00000-of-00001",
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_cache_folder_is_named(kept, path, tmp_path, name, damage):
    shutil.copytree(kept, tmp_path / "c")
    (folder,) = (tmp_path / "c").glob("mine-*")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "truncated":
        (folder / name).write_bytes(content[: len(content) // 3])
    if name == "rejected.csv" and damage == "truncated":
        (folder / name).write_bytes(b"")
    with pytest.raises(ScreenError, match=rf"{folder.name}.*delete that folder"):
        _everything(prepare(path, tiny.prepare_config(), cache=tmp_path / "c"))


def _everything(prepared: Screen) -> tuple:
    return prepared.in_memory(), prepared.archive.rejected, prepared.archive.correction
