"""Subsets, galleries, directions, pooling, and reasons for what is missing."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest

from molphenix_jax.evaluation import pooling, protocol


def make_candidates(m=40, *, split="unseen_molecules", seed=0, **changes):
    rng = np.random.default_rng(seed)
    values = {
        "split": split,
        "molecule": np.array([f"mol{i // 2}" for i in range(m)]),
        "concentration_um": np.tile([1.0, 10.0], m)[:m],
        "condition": np.full(m, ""),
        "p_value": np.where(
            np.arange(m) % 4 == 0, 0.005, np.where(np.arange(m) % 4 == 1, 0.05, np.nan)
        ),
        "profile": rng.normal(size=(m, 6)),
    }
    return protocol.Candidates(**{**values, **changes})


def make_embeddings(m=40, *, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    z_m = rng.normal(size=(m, 6))
    return {"molphenix": (z_m + noise * rng.normal(size=z_m.shape), z_m, "cosine")}


def only(found, **wanted):
    tables = [
        table
        for table in found.tables
        if all(getattr(table.setting, name) == value for name, value in wanted.items())
    ]
    assert len(tables) == 1
    return tables[0]


def reference_ranks(query, gallery, own):
    cosine = (query @ gallery.T) / np.outer(
        np.linalg.norm(query, axis=1), np.linalg.norm(gallery, axis=1)
    )
    return np.array([(cosine[i] >= cosine[i, j] - 1e-12).sum() for i, j in enumerate(own)])


def test_every_combination_is_ranked_once():
    found = protocol.evaluate(make_candidates(), make_embeddings(), psis=(0.01, 0.1))
    combinations = {
        (t.setting.subset, t.setting.psi, t.setting.gallery, t.setting.direction)
        for t in found.tables
    }
    further = [t for t in found.tables if t.setting.gallery in protocol.FURTHER_GALLERIES]
    assert len(combinations) == len(found.tables)
    assert len(found.tables) - len(further) == 2 * (1 + 2 * 2)
    assert {t.setting.gallery for t in further} == {"same_dose", "molecules"}
    assert {t.setting.direction for t in further} == {"profile_to_molecule"}
    assert found.not_computed == ()


@pytest.mark.parametrize("n", [1, 3, 5])
def test_parts_put_together_are_the_whole(n):
    m = 700  # three chunks of queries
    candidates = make_candidates(m, condition=np.array(["a", "b"])[np.arange(m) % 7 // 5])
    embeddings = {**make_embeddings(m), "other": make_embeddings(m, seed=1)["molphenix"]}
    whole = protocol.evaluate(candidates, embeddings)
    parts = [
        protocol.evaluate(candidates, embeddings, part=protocol.ranks.Part(i, n)) for i in range(n)
    ]
    given = []
    for part in parts:
        with pytest.raises(ValueError, match="not given the same") if n > 1 else nullcontext():
            pooling.put_together(part, lambda own: given.append(own) or own)
    together = pooling.put_together(parts[0], lambda _: np.concatenate(given))
    assert len(together.tables) == len(whole.tables) > 10
    for found, expected in zip(together.tables, whole.tables, strict=True):
        assert found.setting == expected.setting
        for model in embeddings:
            np.testing.assert_array_equal(found.rank[model], expected.rank[model])


@pytest.mark.parametrize("direction", ["profile_to_molecule", "molecule_to_profile"])
@pytest.mark.parametrize("psi", [0.01, 0.1])
def test_active_queries_meet_the_gallery_they_are_said_to_meet(direction, psi):
    candidates, embeddings = make_candidates(), make_embeddings()
    found = protocol.evaluate(candidates, embeddings, psis=(psi,))
    x, m, _ = embeddings["molphenix"]
    query, gallery = (x, m) if direction == "profile_to_molecule" else (m, x)
    active = np.flatnonzero(np.nan_to_num(candidates.p_value, nan=1.0) <= psi)
    assert 0 < len(active) < 40

    full = only(found, subset="active", gallery="full", direction=direction)
    np.testing.assert_array_equal(full.n_gallery, 40)
    np.testing.assert_array_equal(
        full.rank["molphenix"], reference_ranks(query[active], gallery, active)
    )
    among = only(found, subset="active", gallery="active", direction=direction)
    np.testing.assert_array_equal(among.n_gallery, len(active))
    np.testing.assert_array_equal(
        among.rank["molphenix"],
        reference_ranks(query[active], gallery[active], np.arange(len(active))),
    )
    np.testing.assert_array_equal(among.molecule, candidates.molecule[active])
    assert (full.rank["molphenix"] > among.rank["molphenix"]).any()


def test_a_p_value_at_psi_is_active_and_an_undefined_one_is_not():
    p_value = np.array([0.01, 0.01, 0.0100001, np.nan])
    found = protocol.evaluate(make_candidates(4, p_value=p_value), make_embeddings(4), psis=(0.01,))
    table = only(found, subset="active", gallery="active", direction="profile_to_molecule")
    assert len(table.molecule) == 2


def test_no_active_perturbation_is_said_with_its_reason():
    candidates = make_candidates(p_value=np.full(40, np.nan))
    found = protocol.evaluate(candidates, make_embeddings(), psis=(0.01, 0.1))
    assert {t.setting.subset for t in found.tables} == {"all"}
    assert [(x["split"], x["subset"], x["psi"]) for x in found.not_computed] == [
        ("unseen_molecules", "active", 0.01),
        ("unseen_molecules", "active", 0.1),
    ]
    assert "0 of 40" in found.not_computed[0]["reason"]
    assert "40 without a p-value" in found.not_computed[0]["reason"]


def test_a_gallery_of_one_is_no_gallery():
    found = protocol.evaluate(make_candidates(1), make_embeddings(1), psis=())
    assert found.tables == ()
    assert "ranking needs two" in found.not_computed[0]["reason"]


def test_pooled_queries_keep_the_gallery_of_their_fold():
    folds = [
        protocol.evaluate(make_candidates(m, seed=m), make_embeddings(m, seed=m), psis=(0.1,))
        for m in (30, 44)
    ]
    pooled = pooling.pool(folds, min_molecules=1)
    wanted = {"subset": "all", "direction": "molecule_to_profile"}
    table, parts = only(pooled, **wanted), [only(fold, **wanted) for fold in folds]
    np.testing.assert_array_equal(table.n_gallery, [30] * 30 + [44] * 44)
    np.testing.assert_array_equal(
        table.rank["molphenix"], np.concatenate([p.rank["molphenix"] for p in parts])
    )
    assert len(table.molecule) == 74


def test_settings_over_a_handful_of_molecules_are_listed_not_shown():
    found = protocol.evaluate(make_candidates(), make_embeddings(), psis=(0.01, 0.1))
    pooled = pooling.pool([found], min_molecules=15)
    assert {t.setting.subset for t in pooled.tables} == {"all"}
    # One entry for each psi, not one for each gallery and direction.
    assert [x["psi"] for x in pooled.not_computed] == [0.01, 0.1]
    assert "10 molecule(s), fewer than 15" in pooled.not_computed[0]["reason"]


def test_a_fold_without_actives_is_named():
    quiet = make_candidates(p_value=np.full(40, 0.9))
    folds = [
        protocol.evaluate(c, make_embeddings(), psis=(0.1,)) for c in (make_candidates(), quiet)
    ]
    pooled = pooling.pool(folds)
    assert len(only(pooled, gallery="active", direction="profile_to_molecule").molecule) == 20
    assert [x["reason"][:13] for x in pooled.not_computed] == ["fold 2 of 2: "]


def test_held_out_concentrations_are_pooled_as_well():
    folds = [
        protocol.evaluate(
            make_candidates(split=f"heldout_concentration:{dose}"), make_embeddings(), psis=()
        )
        for dose in (1, 10)
    ]
    pooled = pooling.pool(folds)
    sizes = {
        t.setting.split: len(t.molecule)
        for t in pooled.tables
        if t.setting.direction == "profile_to_molecule"
    }
    assert sizes == {
        "heldout_concentration:1": 40,
        "heldout_concentration:10": 40,
        "heldout_concentration:pooled": 80,
    }


def test_folds_with_different_models_are_not_pooled():
    one = protocol.evaluate(make_candidates(), make_embeddings(), psis=())
    other = protocol.evaluate(make_candidates(), {"knn": make_embeddings()["molphenix"]}, psis=())
    with pytest.raises(ValueError, match="every fold has every model"):
        pooling.pool([one, other])


def test_queries_of_several_conditions_also_meet_the_gallery_of_their_own():
    condition = np.array(["24 h", "48 h"] * 19 + ["48 h", "72 h"])
    found = protocol.evaluate(make_candidates(condition=condition), make_embeddings(), psis=(0.01,))
    paired = [t for t in found.tables if t.setting.gallery not in protocol.FURTHER_GALLERIES]
    assert {(t.setting.subset, t.setting.gallery) for t in paired} == {
        *(("all", "full"), ("all", "own_condition")),
        *(("active", "full"), ("active", "active"), ("active", "own_condition")),
    }
    query, gallery, _ = make_embeddings()["molphenix"]
    for subset, ids in (("all", np.arange(39)), ("active", np.arange(0, 39, 4))):
        table = only(found, subset=subset, gallery="own_condition", direction="profile_to_molecule")
        for row, i in enumerate(ids):
            members = np.flatnonzero(condition == condition[i])
            own = np.flatnonzero(members == i)
            rank = reference_ranks(query[[i]], gallery[members], own)[0]
            assert table.rank["molphenix"][row] == rank
            assert table.n_gallery[row] == len(members)
            assert table.condition[row] == condition[i]
    assert [m["reason"][:18] for m in found.not_computed] == ["1 perturbations ar"]


@pytest.mark.parametrize(
    "name", ["molecule", "concentration_um", "condition", "p_value", "profile"]
)
@pytest.mark.usefixtures("unchecked")
def test_candidates_must_agree_in_length(name):
    with pytest.raises(ValueError, match=r"unseen_molecules: (molecule|con|p_value|prof)"):
        make_candidates(**{name: getattr(make_candidates(), name)[:-1]})


@pytest.mark.usefixtures("unchecked")
def test_rows_that_do_not_fit_and_reserved_names_are_errors():
    candidates = make_candidates()
    x, m, metric = make_embeddings()["molphenix"]
    with pytest.raises(ValueError, match="knn has 39 profile rows and 40 candidate rows"):
        protocol.evaluate(candidates, {"knn": (x[:-1], m, metric)})
    with pytest.raises(ValueError, match="embeddings of knn: query: 1 of 40 rows.*row 7"):
        protocol.evaluate(
            candidates, {"knn": (np.where(np.arange(40)[:, None] == 7, np.nan, x), m, metric)}
        )
    with pytest.raises(ValueError, match="worked out"):
        protocol.evaluate(candidates, {"chance": (x, m, metric)})


def test_settings_can_be_keys():
    table = protocol.evaluate(make_candidates(), make_embeddings()).tables[0]
    assert {table.setting: 1}[dataclasses.replace(table.setting)] == 1


PAPER = "profile_to_molecule"


@pytest.mark.parametrize("gallery", ["same_dose", "same_source"])
def test_queries_also_meet_those_of_their_own_dose_and_source(gallery):
    source = np.array([*("a", "b") * 19, "b", "c"])
    candidates = make_candidates(source=source)
    label = candidates.concentration_um if gallery == "same_dose" else source
    found = protocol.evaluate(candidates, make_embeddings(), psis=(0.01,))
    query, rows, _ = make_embeddings()["molphenix"]
    table = only(found, subset="all", gallery=gallery, direction=PAPER)
    kept = [i for i in range(40) if (label == label[i]).sum() > 1]
    assert len(table.molecule) == len(kept)
    for place, i in enumerate(kept):
        members = np.flatnonzero(label == label[i])
        own = np.flatnonzero(members == i)
        assert table.rank["molphenix"][place] == reference_ranks(query[[i]], rows[members], own)[0]
        assert table.n_gallery[place] == len(members)
    lost = [m["reason"] for m in found.not_computed if m["reason"].endswith("the same source")]
    assert len(lost) == 1, "the only one of c"


def test_one_dose_and_one_source_need_no_gallery_of_their_own():
    candidates = make_candidates(concentration_um=np.full(40, 10.0), source=np.full(40, "a"))
    found = protocol.evaluate(candidates, make_embeddings(), psis=())
    shown = {t.setting.gallery for t in found.tables}
    assert not shown & {"same_dose", "same_source"}
    alone = make_candidates(molecule=np.arange(40))
    found = protocol.evaluate(alone, make_embeddings(), psis=())
    assert "molecules" not in {t.setting.gallery for t in found.tables}, "one perturbation each"


def test_a_molecule_stands_where_its_best_dose_does():
    candidates, embeddings = make_candidates(), make_embeddings()
    x, m, _ = embeddings["molphenix"]
    table = only(
        protocol.evaluate(candidates, embeddings, psis=()),
        subset="all",
        gallery="molecules",
        direction=PAPER,
    )
    cosine = (x @ m.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(m, axis=1))
    names = np.unique(candidates.molecule)
    best = np.stack([cosine[:, candidates.molecule == name].max(axis=1) for name in names], axis=1)
    own = np.searchsorted(names, candidates.molecule)
    expected = (best >= best[np.arange(40), own][:, None]).sum(axis=1)
    np.testing.assert_array_equal(table.rank["molphenix"], expected)
    assert (table.n_gallery == len(names)).all()


def test_active_ones_that_leave_cells_are_ranked_by_themselves():
    p_value = np.where(np.arange(40) < 12, 0.001, 0.5)
    not_toxic = np.arange(40) % 3 > 0
    candidates = make_candidates(p_value=p_value, not_toxic=not_toxic)
    found = protocol.evaluate(candidates, make_embeddings(), psis=(0.01,))
    query, rows, _ = make_embeddings()["molphenix"]
    ids = np.flatnonzero((p_value <= 0.01) & not_toxic)
    full = only(found, subset="active_not_toxic", gallery="full", direction=PAPER)
    np.testing.assert_array_equal(
        full.rank["molphenix"], reference_ranks(query, rows, np.arange(40))[ids]
    )
    among = only(found, subset="active_not_toxic", gallery="active_not_toxic", direction=PAPER)
    expected = reference_ranks(query[ids], rows[ids], np.arange(len(ids)))
    np.testing.assert_array_equal(among.rank["molphenix"], expected)
    for known, said in ((np.ones(40, bool), []), (p_value > 0.01, ["0 of 12 active"])):
        found = protocol.evaluate(
            make_candidates(p_value=p_value, not_toxic=known), make_embeddings(), psis=(0.01,)
        )
        assert "active_not_toxic" not in {t.setting.subset for t in found.tables}
        reasons = [m["reason"] for m in found.not_computed if "active" in m["reason"]]
        assert [reason[:14] for reason in reasons] == said
