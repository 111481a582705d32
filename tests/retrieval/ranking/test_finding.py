"""From wells to hits: the right molecules, and numbers that say how much to believe them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.errors import InputError
from molphenix_jax.retrieval.ranking import (
    Asked,
    Wanted,
    domain,
    find_hits,
    parse_terms,
    read_terms,
)
from molphenix_jax.retrieval.ranking.combining import CombinationError
from molphenix_jax.retrieval.ranking.queries import Reading, read_queries
from molphenix_jax.wells.inputs.sources import Sources
from tests.retrieval.ranking import made
from tests.retrieval.ranking.test_calibration import held_out

EFFECTS = {
    ("gene A", "", np.nan): [9, 0, 0, 0, 0, 0],
    ("gene B", "", np.nan): [0, 9, 0, 0, 0, 0],
    ("nothing", "", np.nan): [0, 0, 0, 0, 0, 0],
    ("drug", "CC(=O)Nc1ccc(O)cc1", 10.0): [0, 0, 0, -9, 9, 0],
}
# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]

N = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Model, library, wells; molecule i of the library is what query i looks like, at dose 10."""
    folder = tmp_path_factory.mktemp("world")
    table = made.molecules(N)
    train = [*table["smiles"][40:50], "CC(=O)Nc1ccc(O)cc1"]
    model = made.load(made.write_run(folder / "run", train=train))
    wells = made.plates(EFFECTS)
    wells.to_csv(folder / "wells.csv", index=False)
    queries = read_queries(Sources.of(folder / "wells.csv"), model, Reading())
    z = made.embedded(model, table)
    z[:4, 1] = model.embed_profiles(queries.profiles, corrected=True)
    index = made.write_index(folder / "INDEX", model, z, table)
    return model, index, wells, queries, folder


def hits_of(hits, label) -> pd.DataFrame:
    return hits.table[hits.table["query"] == label].reset_index(drop=True)


def test_each_profile_finds_what_it_looks_like(world):
    model, index, _, queries, _ = world
    hits = find_hits(queries, index, model, wanted=Wanted(top=20), asked=Asked(rank_inactive=True))
    labels = ["gene A", "gene B", "nothing", "drug @ 10 µM"]
    assert hits.queries["query"].tolist() == labels
    for i, label in enumerate(labels):
        of = hits_of(hits, label)
        assert of["rank"].tolist() == list(range(1, 21))
        assert of["id"][0] == f"m{i}"
        assert of["concentration_um"][0] == 10.0
        assert of["cosine"][0] == pytest.approx(1, abs=1e-5)
        assert of["percentile"][0] == 100
        np.testing.assert_allclose(of["percentile"], 100 * (1 - np.arange(20) / N))
        assert of["spread"][0] == pytest.approx(0, abs=1e-5)
        assert of["cosine"].is_monotonic_decreasing
    assert hits.queries["wells"].tolist() == [4] * 4
    assert hits.queries["plates"].tolist() == [2] * 4
    assert hits.doses_um == made.DOSES
    curve = np.array(hits.table["curve"].tolist())
    np.testing.assert_allclose(curve.max(axis=1), hits.table["cosine"], atol=1e-5)


def test_a_p_value_counts_control_profiles_at_the_dose_of_the_hit(world):
    model, index, _, queries, _ = world
    hits = find_hits(queries, index, model, wanted=Wanted(top=N), asked=Asked(rank_inactive=True))
    of = hits_of(hits, "gene A")
    rng = np.random.default_rng(5)
    means = np.stack([model.null_profiles[rng.permutation(200)[:4]].mean(0) for _ in range(4000)])
    null = model.embed_profiles(means, corrected=True)
    number = [int(name[1:]) for name in of["id"]]
    dose = np.searchsorted(made.DOSES, of["concentration_um"])
    similar = null @ index.embeddings(number)[np.arange(N), dose].T
    again = (similar >= of["cosine"].to_numpy()).mean(axis=0)
    np.testing.assert_allclose(of["p_value"], again, atol=0.06)
    assert of["p_value"].min() >= 1 / 1001


def test_the_inactive_abstain_and_say_so(world):
    model, index, _, queries, _ = world
    hits = find_hits(queries, index, model)
    silent = hits.queries.set_index("query")["abstained"]
    assert silent.to_dict() == {
        "gene A": False,
        "gene B": False,
        "nothing": True,
        "drug @ 10 µM": False,
    }
    assert "nothing" not in set(hits.table["query"])
    assert "looks inactive" in hits.queries.set_index("query")["note"]["nothing"]


def test_training_molecules_are_flagged(world, monkeypatch):
    monkeypatch.setattr(domain, "_CHUNK", 4)
    model, index, _, queries, _ = world
    hits = find_hits(queries, index, model, wanted=Wanted(top=N))
    asked = hits.queries.set_index("query")
    assert asked["trained_on"].to_dict()["drug @ 10 µM"]
    assert not asked["trained_on"].to_dict()["gene A"]
    of = hits_of(hits, "gene A").set_index("id")
    seen = {f"m{i}" for i in range(40, 50)}
    assert set(of.index[of["trained_on"]]) >= seen
    assert (of.loc[list(seen), "nearest_tanimoto"] == 1).all()
    assert of.loc[list(seen), "in_domain"].all()
    assert (of["in_domain"] == (of["nearest_tanimoto"] >= 0.3)).all()


def test_profiles_are_joined_with_their_weights(world):
    model, index, _, queries, _ = world
    z = model.embed_profiles(queries.profiles, corrected=True)
    terms = parse_terms("+gene A, 2*gene B,-drug @ 10 µM")
    hits = find_hits(queries, index, model, wanted=Wanted(top=5), asked=Asked({"mix": terms}))
    apart = (z[0] + 2 * z[1] - z[3]).reshape(made.MEMBERS, -1)
    unit = apart / np.linalg.norm(apart, axis=1, keepdims=True) / np.sqrt(made.MEMBERS)
    expected = np.sort(np.einsum("mke,e->mk", index.embeddings(range(N)), unit.ravel()).max(1))
    np.testing.assert_allclose(hits.table["cosine"], expected[::-1][:5], atol=1e-5)
    assert np.isnan(hits.queries["chance_in_list"]).all()
    weak = find_hits(queries, index, model, asked=Asked({"m": parse_terms("+gene A,+nothing")}))
    assert weak.queries["abstained"].tolist() == [True]
    assert not len(weak.table)
    for text, message in (
        ("-gene A", "no profile has a positive weight"),
        ("+gene C", "no profile is called 'gene C' .nearest: gene"),
        ("", "no profile is named"),
    ):
        with pytest.raises(CombinationError, match=message):
            find_hits(queries, index, model, asked=Asked({"m": parse_terms(text)}))


def test_combinations_of_a_table():
    table = pd.DataFrame(
        {"query": ["x", "x", "y"], "profile": ["a", "b", "a"], "weight": ["1", "-0.5", ""]}
    )
    found = read_terms(table, "q.csv")
    assert found == {"x": (("a", 1.0), ("b", -0.5)), "y": (("a", 1.0),)}
    with pytest.raises(CombinationError, match="q.csv: row 2, weight: 'much' is no number"):
        read_terms(table.assign(weight=["1", "much", ""]), "q.csv")
    with pytest.raises(CombinationError, match="no column 'profile'"):
        read_terms(table.drop(columns="profile"), "q.csv")


def test_lists_are_filtered_from_the_top(world):
    model, index, _, queries, _ = world
    one = dataclasses.replace(
        queries,
        table=queries.table.iloc[:1],
        profiles=queries.profiles[:1],
        levels=queries.levels[:1],
        features=queries.features[queries.features["query"] == "gene A"],
    )
    plain = find_hits(one, index, model, wanted=Wanted(top=N)).table

    def found(**wanted):
        return find_hits(one, index, model, wanted=Wanted(**wanted)).table["id"].tolist()

    ring = found(top=5, substructure="c1ccncc1")
    holds = molphenix_jax.retrieval.ranking.selecting._holds(plain["smiles"], "c1ccncc1")
    assert ring == plain["id"][holds].tolist()[:5]
    light = molphenix_jax.retrieval.ranking.wanted_of(
        7, "best", diverse=False, substructure="", limits="mw<300,logp<=3"
    )
    kept = (plain["mw"] < 300) & (plain["logp"] <= 3)
    table = find_hits(one, index, model, wanted=light).table
    assert table["id"].tolist() == plain["id"][kept].tolist()[:7]
    assert table["percentile"].tolist() == plain["percentile"][kept].tolist()[:7]
    first = plain.drop_duplicates("scaffold")["id"].tolist()
    assert found(top=9, diverse=True) == first[:9]
    every = find_hits(one, index, model, wanted=Wanted(top=10, best_dose=False)).table
    assert every.duplicated(["id"]).any()
    assert not every.duplicated(["id", "concentration_um"]).any()
    assert not found(top=5, substructure="[U]")
    for given, message in (
        ({"limits": "mw<heavy"}, "'mw<heavy' is no limit such as mw<500"),
        ({"limits": "weight<5"}, "properties are mw, logp"),
        ({"doses": "some"}, "doses=some: one of best, all"),
        ({"top": 0}, "top=0: at least 1"),
    ):
        options = {"top": 5, "doses": "best", "diverse": False, "substructure": "", "limits": ""}
        with pytest.raises(InputError, match=message):
            molphenix_jax.retrieval.ranking.wanted_of(**{**options, **given})
    with pytest.raises(InputError, match="is not a valid SMARTS"):
        found(substructure="c1cc")


@pytest.mark.parametrize(
    ("hours", "note"),
    [
        (None, "measured at an unknown time_h, while the library is that of 24 h"),
        (48, "measured at 48 h, while the library is that of 24 h"),
        (24, ""),
    ],
)
def test_profiles_measured_elsewhere_say_so(world, tmp_path, hours, note):
    model, _, wells, _, _ = world
    table = made.molecules(N)
    z, told = made.embedded(model, table), {"time_h": "24"}
    index = made.write_index(tmp_path / "INDEX", model, z, table, conditions=told)
    wells = wells if hours is None else wells.assign(time_h=hours)
    wells.to_csv(tmp_path / "w.csv", index=False)
    queries = read_queries(Sources.of(tmp_path / "w.csv"), model, Reading())
    found = find_hits(queries, index, model, asked=Asked(chances=False)).queries["note"][0]
    assert found.startswith(note)
    assert ("measured at" in found) == bool(note)


def test_the_strongest_features_are_told_in_sds_of_the_controls(world):
    features = world[3].features
    of = features[features["query"] == "drug @ 10 µM"]
    assert set(of["feature"][:2]) == {"Cells_AreaShape_F3", "Cells_AreaShape_F4"}
    value = of.set_index("feature")["value"]
    assert -12 < value["Cells_AreaShape_F3"] < -7
    assert 7 < value["Cells_AreaShape_F4"] < 12


def test_another_model_is_refused_and_both_are_named(world, tmp_path):
    _, index, _, queries, folder = world
    other = made.load(made.write_run(tmp_path / "other", seed=9))
    with pytest.raises(InputError, match=r"was embedded by .*run.* not by .*other"):
        find_hits(queries, index, other)
    assert folder


def test_a_combination_says_that_it_has_no_chance(tmp_path):
    """The chance is measured on single profiles, and a list without one says why."""
    table = made.molecules(80)
    model = made.load(made.write_run(tmp_path / "run", held_out=held_out(table)))
    index = made.write_index(tmp_path / "INDEX", model, made.embedded(model, table), table)
    wells = made.plates(EFFECTS)
    one = molphenix_jax.rank(wells, index=index, model=model, top=5).attrs["queries"]
    assert one["chance_in_list"].notna().tolist() == (~one["abstained"]).tolist()
    assert not one["note"].str.contains("no chance").any()
    mix = molphenix_jax.rank(wells, index=index, model=model, combine="+gene A,+gene B", top=5)
    (row,) = mix.attrs["queries"].to_dict("records")
    assert np.isnan(row["chance_in_list"])
    assert row["note"].endswith("measured on single profiles")


def test_a_table_and_arrays_give_what_a_file_gives(world):
    model, index, wells, queries, folder = world
    file = molphenix_jax.rank(folder / "wells.csv", index=folder / "INDEX", top=5)
    table = molphenix_jax.rank(wells, index=index, model=model, top=5)
    pd.testing.assert_frame_equal(file, table)
    arrays = molphenix_jax.rank(
        wells[list(made.FEATURES)].to_numpy(),
        index=index,
        model=folder / "run",
        top=5,
        controls=wells["is_control"],
        plates=wells["plate"],
        names=wells["compound"],
    )
    assert arrays["id"].tolist() == table["id"].tolist()
    np.testing.assert_allclose(arrays["cosine"], table["cosine"], atol=1e-5)
    assert file.attrs["queries"]["abstained"].sum() == 1
    mix = molphenix_jax.rank(wells, index=index, combine="+gene A,-gene B", top=3)
    assert mix["query"].unique().tolist() == ["+gene A,-gene B"]
    assert len(queries.table) == 4
