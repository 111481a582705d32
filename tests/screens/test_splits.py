import dataclasses

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.molecules import featurise, standardise
from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.screens.screen import Archived, PackedBlock, Screen
from molphenix_jax.screens.splits import (
    SplitError,
    fold_of,
    groups_across,
    leakage_report,
    make_splits,
    molecule_groups,
    split_table,
)
from molphenix_jax.wells.conditions.values import Conditions

# 20 scaffolds with three decorations each, pairs of stereoisomers, and acyclic molecules.
RINGS = (
    *("c1ccccc1", "c1ccncc1", "c1ccoc1", "c1ccsc1", "c1cc[nH]c1", "C1CCCCC1", "C1CCNCC1"),
    *("C1COCCN1", "c1ccc2ccccc2c1", "c1ccc2[nH]ccc2c1", "c1ccc2ncccc2c1", "C1CCCC1", "C1CCOC1"),
    *("c1cncnc1", "c1cnccn1", "c1cn[nH]c1", "c1cnc[nH]1", "c1cscn1", "C1CCOCC1", "C1CNCCN1"),
)
DECORATED = [f"{chain}{ring}" for ring in RINGS for chain in ("C", "CC", "CCC")]
STEREO = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC[C@H](C)O", "CC[C@@H](C)O"]
SMILES = [*DECORATED, *STEREO, "CCCCCO", "CCOCC"]
DOSES = (1.0, 10.0)


@pytest.fixture(scope="module")
def screen() -> Screen:
    """Each molecule at two doses, with 1 to 4 replicates."""
    molecules = standardise(SMILES).filter(["smiles", "inchikey", "scaffold"])
    assert molecules["inchikey"].is_unique
    m = len(molecules)
    replicates = 1 + np.arange(2 * m) % 4
    x = np.random.default_rng(0).normal(size=(replicates.sum(), 3)).astype(np.float32)
    group = np.full(len(x), "p")
    return Screen(
        name="made",
        replicates=x,
        offsets=np.concatenate([[0], np.cumsum(replicates)]),
        molecule=np.repeat(np.arange(m), 2),
        concentration_um=np.tile(np.float32(DOSES), m),
        condition=np.zeros(2 * m, int),
        conditions=Conditions(),
        p_value=np.full(2 * m, 0.05, np.float32),
        molecules=molecules,
        blocks={"morgan": PackedBlock.of(featurise(molecules["smiles"].tolist(), "morgan"))},
        feature_names=("a", "b", "c"),
        truth=None,
        notes=(),
        provenance={},
        archive=Archived(
            fit_correction(x, group, np.ones(len(x), bool), method="none"),
            NullProfiles.none(3),
            pd.DataFrame({"group": group}),
        ),
    )


@pytest.fixture(scope="module")
def groups(screen) -> np.ndarray:
    return molecule_groups(screen.molecules, method="scaffold", butina_cutoff=0.4)


FIELDS = {
    "fold": 0,
    "n_folds": 5,
    "test_fraction": 0.2,
    "validation_fraction": 0.1,
    "unseen_images_fraction": 0.3,
    "heldout_concentrations_um": (),
    "seed": 0,
}


def split(screen, groups, **changes):
    return make_splits([screen], [groups], **{**FIELDS, **changes})[0]


def sides(s):
    return {"train": s.train, "validation": s.validation, "test": s.test}


def test_groups_are_scaffolds_and_stereoisomers(screen, groups):
    for ring in range(len(RINGS)):
        assert len(set(groups[3 * ring : 3 * ring + 3])) == 1
    assert len(set(groups[: len(DECORATED)])) == len(RINGS)
    n = len(DECORATED)
    assert groups[n] == groups[n + 1]
    assert groups[n + 2] == groups[n + 3]
    # Without a ring a molecule is alone: no scaffold is no likeness.
    assert len(set(groups[n:])) == 4


def measured_on(screen: Screen, column: str, label) -> Screen:
    """The screen with a plate or batch for each molecule's wells."""
    of_well = screen.molecule[screen.perturbation_of_replicate]
    wells = screen.archive.wells.assign(**{column: np.asarray(label, object)[of_well]})
    return dataclasses.replace(screen, archive=dataclasses.replace(screen.archive, wells=wells))


@pytest.mark.parametrize("column", ["plate", "batch"])
def test_molecules_of_one_plate_or_batch_stay_together(screen, column):
    m, n = len(screen.molecules), len(DECORATED)
    label = [f"p{i % 11}" for i in range(m)]
    label[n], label[n + 1] = "left", "right"  # stereoisomers
    label[0] = None  # of a molecule that no well names one for
    screen = measured_on(screen, column, label)
    (groups,) = groups_across([screen], method=column, butina_cutoff=0.4)
    for i in range(1, m):
        same = [j for j in range(1, m) if label[j] == label[i]]
        assert len({groups[j] for j in same}) == 1
    assert groups[n] == groups[n + 1]
    assert (groups == groups[0]).sum() == 1
    s = split(screen, groups)
    plates = [{label[i] for i in screen.molecule[side]} for side in (s.train, s.test)]
    assert not set.intersection(*plates)
    assert len(s.test)


def test_a_plate_that_all_share_or_none_is_no_split(screen):
    with pytest.raises(SplitError, match="the wells of screen made name no plate"):
        groups_across([screen], method="plate", butina_cutoff=0.4)
    screen = measured_on(screen, "batch", ["one"] * len(screen.molecules))
    with pytest.raises(SplitError, match="data.split=batch: every molecule is linked"):
        groups_across([screen], method="batch", butina_cutoff=0.4)


def test_butina_joins_what_is_alike_and_keeps_stereoisomers(screen):
    loose = molecule_groups(screen.molecules, method="butina", butina_cutoff=0.05)
    strict = molecule_groups(screen.molecules, method="butina", butina_cutoff=1.0)
    assert len(set(loose)) < len(set(strict))
    n = len(DECORATED)
    assert strict[n] == strict[n + 1]
    assert strict[n + 2] == strict[n + 3]


@pytest.mark.parametrize("fold", range(5))
def test_no_group_straddles_two_sides(screen, groups, fold):
    s = split(screen, groups, fold=fold)
    seen = [set(groups[screen.molecule[ids]]) for ids in sides(s).values()]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen))
    everything = np.concatenate(list(sides(s).values()))
    np.testing.assert_array_equal(np.sort(everything), np.arange(screen.n_perturbations))


def test_folds_partition_into_near_equal_parts(screen, groups):
    tests = [split(screen, groups, fold=fold).test for fold in range(5)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(screen.n_perturbations))
    # No group holds more than 6 perturbations.
    sizes = [len(t) for t in tests]
    assert max(sizes) - min(sizes) <= 6


def test_fractions_of_a_single_split(screen, groups):
    s = split(screen, groups, n_folds=1, test_fraction=0.25, validation_fraction=0.2)
    n = screen.n_perturbations
    assert len(s.test) == pytest.approx(n / 4, abs=6)
    assert len(s.validation) == pytest.approx((n - len(s.test)) / 5, abs=6)


def test_validation_takes_no_cluster_that_is_most_of_the_screen(screen):
    """Half of the molecules are analogues of each other, the others of none."""
    number = np.arange(len(screen.molecules))
    group = np.where(number % 2 == 0, 0, number)
    s = split(screen, group, fold=1)
    assert 0 in group[screen.molecule[s.train]]
    assert 0 not in group[screen.molecule[s.validation]]
    assert 0.05 < len(s.validation) / (len(s.train) + len(s.validation)) < 0.15


def test_the_seed_decides_everything(screen, groups):
    a, b, c = (split(screen, groups, seed=seed) for seed in (0, 0, 1))
    for name in ("train", "validation", "test", "unseen_images", "withheld"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert set(a.test) != set(c.test)
    assert set(a.unseen_images) != set(c.unseen_images)


def test_withheld_wells_are_half_of_some_training_perturbations(screen, groups):
    s = split(screen, groups, unseen_images_fraction=1.0)
    assert set(s.unseen_images) == {i for i in s.train if screen.n_replicates[i] >= 2}
    owner = screen.perturbation_of_replicate
    withheld = np.bincount(owner[s.withheld], minlength=screen.n_perturbations)
    chosen = s.unseen_images
    np.testing.assert_array_equal(withheld[chosen], screen.n_replicates[chosen] // 2)
    assert (withheld[chosen] < screen.n_replicates[chosen]).all()
    assert withheld.sum() == withheld[chosen].sum()
    assert not split(screen, groups, unseen_images_fraction=0.0).withheld.any()


def test_heldout_doses_are_on_no_side(screen, groups):
    s = split(screen, groups, heldout_concentrations_um=(10.2,))
    (ids,) = s.heldout.values()
    np.testing.assert_array_equal(ids, np.flatnonzero(screen.concentration_um == 10))
    for side in sides(s).values():
        assert set(screen.concentration_um[side]) == {1.0}


def test_a_heldout_dose_that_is_not_there(screen, groups):
    with pytest.raises(SplitError, match=r"heldout_concentrations.*3 µM; doses: 1, 10"):
        split(screen, groups, heldout_concentrations_um=(3.0,))


def test_too_few_groups_say_what_to_do(screen):
    with pytest.raises(SplitError, match=r"3 groups .*cannot be split into 5.*data\.folds"):
        split(screen, np.arange(len(screen.molecules)) % 3)


def test_the_leakage_report_finds_none_in_a_split_by_scaffold(screen, groups):
    s = split(screen, groups)
    report = leakage_report(screen, s)
    assert report["shared_inchikey_first_blocks"] == 0
    assert report["shared_scaffolds"] == 0
    assert report["n_train_molecules"] == len(set(screen.molecule[s.train]))
    assert 0 < report["median_nearest_train_tanimoto"] <= report["max_nearest_train_tanimoto"] < 1


def test_the_leakage_report_finds_leaks(screen, groups):
    s = split(screen, groups)
    n = len(DECORATED)
    # One of each pair of stereoisomers, and one of the first scaffold, on either side.
    leaky = dataclasses.replace(
        s, train=np.array([0, 2 * n, 2 * n + 4]), test=np.array([2, 2 * n + 2, 2 * n + 6])
    )
    report = leakage_report(screen, leaky)
    assert report["shared_inchikey_first_blocks"] == 2
    assert report["shared_scaffolds"] == 1


def test_the_table_names_each_molecule_once(screen, groups):
    table = split_table(screen, split(screen, groups))
    assert len(table) == len(screen.molecules)
    merged = table.merge(screen.molecules, on=["inchikey", "smiles"])
    assert len(merged) == len(table)
    assert isinstance(table, pd.DataFrame)
    assert set(table["split"]) == {"train", "validation", "unseen_molecules"}


def part_of(screen: Screen, molecules: np.ndarray) -> Screen:
    """A screen of some of the molecules, in this order."""
    ids = np.concatenate([[2 * m, 2 * m + 1] for m in molecules])
    rows = np.concatenate([np.arange(*screen.offsets[i : i + 2]) for i in ids])
    return dataclasses.replace(
        screen,
        replicates=screen.replicates[rows],
        offsets=np.concatenate([[0], np.cumsum(screen.n_replicates[ids])]),
        molecule=np.repeat(np.arange(len(molecules)), 2),
        concentration_um=screen.concentration_um[ids],
        condition=screen.condition[ids],
        p_value=screen.p_value[ids],
        molecules=screen.molecules.iloc[molecules].reset_index(drop=True),
    )


def test_one_screen_has_the_folds_of_scikit_learn(screen, groups):
    from sklearn.model_selection import GroupKFold

    rows = groups[screen.molecule]
    relabelled = np.random.default_rng(3).permutation(groups.max() + 1)[rows]
    for i, (_, test) in enumerate(GroupKFold(5).split(rows, groups=relabelled)):
        ours = fold_of(rows, 5, np.random.default_rng(3))
        np.testing.assert_array_equal(np.flatnonzero(ours == i), test)


@pytest.mark.parametrize("method", ["scaffold", "butina"])
@pytest.mark.parametrize("n_folds", [1, 3])
def test_a_molecule_that_is_unseen_in_one_screen_trains_in_none(screen, method, n_folds):
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.choice(len(SMILES), n, replace=False)) for n in (45, 30, 30)]
    screens = [part_of(screen, molecules) for molecules in parts]
    groups = groups_across(screens, method=method, butina_cutoff=0.4)
    fields = FIELDS | {"n_folds": n_folds, "validation_fraction": 0.25}
    n_tested = np.zeros(len(screens), int)
    for fold in range(n_folds):
        splits = make_splits(screens, groups, **{**fields, "fold": fold})
        seen: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
        for of, s in zip(screens, splits, strict=True):
            everything = np.concatenate(list(sides(s).values()))
            np.testing.assert_array_equal(np.sort(everything), np.arange(of.n_perturbations))
            for side, ids in sides(s).items():
                keys = of.molecules["inchikey"].iloc[of.molecule[ids]]
                seen[side] |= set(keys.str[:14])
        assert not seen["train"] & seen["test"]
        assert not seen["train"] & seen["validation"]
        assert not seen["validation"] & seen["test"]
        n_tested += [len(s.test) for s in splits]
    if n_folds > 1:
        np.testing.assert_array_equal(n_tested, [of.n_perturbations for of in screens])
    else:
        sizes = [of.n_perturbations for of in screens]
        assert all(0.05 * n < k < 0.45 * n for n, k in zip(sizes, n_tested, strict=True))


def test_a_held_out_dose_need_not_be_in_every_screen(screen):
    other = dataclasses.replace(screen, concentration_um=3 * screen.concentration_um)
    groups = groups_across([screen, other], method="scaffold", butina_cutoff=0.4)
    ours, theirs = make_splits(
        [screen, other], groups, **FIELDS | {"heldout_concentrations_um": (10.0,)}
    )
    assert list(ours.heldout) == [10.0]
    assert theirs.heldout == {}
    with pytest.raises(SplitError, match="no pair at 5 µM"):
        make_splits([screen, other], groups, **FIELDS | {"heldout_concentrations_um": (5.0,)})
