"""Wells to queries: how replicates are found and corrected, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.retrieval.ranking.queries import Reading, read_queries
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.conditions.values import Conditions
from molphenix_jax.wells.inputs.sources import Sources
from tests.retrieval.ranking import made

EFFECTS = {
    ("TP53", "", np.nan): [9, 0, 0, 0, 0, 0],
    ("nothing", "", np.nan): [0] * 6,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    times = Conditions(("time_h",), (("24",), ("48",)))
    return made.load(made.write_run(tmp_path_factory.mktemp("run"), conditions=times))


def read(table: pd.DataFrame, model, tmp_path, **reading):
    table.to_csv(tmp_path / "wells.csv", index=False)
    return read_queries(Sources.of(tmp_path / "wells.csv"), model, Reading(**reading))


def test_a_plate_is_corrected_by_its_own_controls(model, tmp_path):
    """The two plates of the second table lie farther apart; what is found is the same."""
    table = made.plates(EFFECTS, replicates=4)
    far = table.copy()
    second = (far["plate"] == "P2").to_numpy()
    far.loc[second, list(made.FEATURES)] += 6
    one, other = (read(t, model, tmp_path) for t in (table, far))
    length = np.linalg.norm(one.profiles[0]) * np.linalg.norm(other.profiles[0])
    assert one.profiles[0] @ other.profiles[0] > 0.9 * length
    assert np.linalg.norm(other.profiles[1]) < 0.4 * np.linalg.norm(other.profiles[0])
    assert one.table["wells"].tolist() == [8, 8]


def test_what_replicates_are(model, tmp_path):
    """One molecule at one dose under one time, however its SMILES is written; else one name."""
    effects = {
        ("x", "CCO", 1.0): [5] * 6,
        ("y", "OCC", 1.0001): [5] * 6,
        ("x", "CCO", 10.0): [5] * 6,
        ("TP53", "", np.nan): [5] * 6,
        ("MYC", "", np.nan): [5] * 6,
    }
    table = made.plates(effects, names=("P1", "P2", "P3"), replicates=1)
    table["time_h"] = np.where(table["plate"] == "P3", 48, 24)
    found = read(table, model, tmp_path).table.set_index("query")
    assert found["wells"].to_dict() == {
        "x @ 1 µM @ 24 h": 4,
        "x @ 10 µM @ 24 h": 2,
        "TP53 @ 24 h": 2,
        "MYC @ 24 h": 2,
        "x @ 1 µM @ 48 h": 2,
        "x @ 10 µM @ 48 h": 1,
        "TP53 @ 48 h": 1,
        "MYC @ 48 h": 1,
    }
    named = read(table, model, tmp_path, name="compound").table.set_index("query")
    assert named["wells"]["y @ 1 µM @ 24 h"] == 2
    blank = table.drop(columns=["compound", "smiles", "dose_um", "time_h"])
    alone = read(blank, model, tmp_path).table
    assert len(alone) == 15
    assert alone["query"].is_unique


def test_one_label_for_each_query(model, tmp_path):
    effects = {("x", "CCO", 1.0): [5] * 6, ("x", "CCN", 1.0): [5] * 6}
    found = read(made.plates(effects), model, tmp_path).table
    assert found["query"].tolist() == ["x @ 1 µM", "x @ 1 µM #2"]


def test_a_single_replicate_is_held_against_the_controls_by_its_distance(model, tmp_path):
    far = {("far", "", np.nan): [12] * 6, ("near", "", np.nan): [0] * 6}
    found = read(made.plates(far, names=("P1",), replicates=1, n_controls=30), model, tmp_path)
    p_value = found.table.set_index("query")["activity_p"]
    assert p_value["far"] < 0.05 < p_value["near"]


def test_smiles_that_cannot_be_read_are_looked_up_all_the_same(model, tmp_path):
    found = read(made.plates({("x", "no molecule", 1.0): [5] * 6}), model, tmp_path)
    assert found.table["query"].tolist() == ["x @ 1 µM"]
    assert found.table["inchikey"].tolist() == [""]
    assert any("1 SMILES cannot be read (no molecule)" in note for note in found.notes)


def without(table, *names):
    return table.drop(columns=list(names))


def lists(table, width):
    values = table[list(made.FEATURES)].to_numpy()[:, [0] * width]
    return without(table, *made.FEATURES).assign(embedding=list(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, made.FEATURES[2]), r"wells.csv: lacks 1 of 6 features"),
        (
            lambda t: t.rename(columns=dict(zip(made.FEATURES, "abcdef", strict=True))),
            r"lacks 6 of 6 features",
        ),
        (
            lambda t: t[~((t["plate"] == "P2") & t["is_control"])],
            r"wells.csv: plate 'P2' \(row 21\) has 0 control wells, at least 2 are needed .*"
            r"--controls=COLUMN=VALUE.*--group_by=batch.*leave these wells out",
        ),
        (lambda t: t[~t["is_control"]].assign(is_control=False), r"plate 'P1' .* has 0 control"),
        (
            lambda t: t[~t["is_control"] & (t["plate"] == "P1")].assign(batch="B"),
            r"batch .* has 0 control wells.*COLUMN=VALUE \(controls= in Python\), or leave",
        ),
        (lambda t: lists(t, 3), r"lists of 3 numbers, which lack 6 of 6 features of the training"),
        (lambda t: t[t["is_control"]], r"wells.csv: every row counts as a control"),
        (
            lambda t: t.assign(**{made.FEATURES[0]: np.where(t["is_control"], 1.0, np.nan)}),
            r"no usable treated well among 40 rows: 8 x Cells_AreaShape_F0: 1 of 6 features are "
            r"missing, NaN or infinite \(first: row 17",
        ),
        (lambda t: t.iloc[:0], r"wells.csv: "),
    ],
)
def test_what_cannot_be_looked_up_ends_in_a_sentence(model, tmp_path, change, message):
    with pytest.raises(WellsError, match=message):
        read(change(made.plates(EFFECTS)), model, tmp_path)


def test_some_bad_wells_are_rejected_and_the_others_go_on(model, tmp_path):
    table = made.plates(EFFECTS)
    table.loc[[17, 18], made.FEATURES[1]] = [np.nan, np.inf]
    found = read(table, model, tmp_path)
    assert found.rejected["row"].tolist() == [18, 19]
    assert set(found.rejected["field"]) == {made.FEATURES[1]}
    assert found.table["wells"].sum() == 6


def test_lists_of_another_length_are_refused(tmp_path):
    """Of a model whose features are the numbers of a list; a longer one is not cut."""
    made_of_lists = made.load(
        made.write_run(tmp_path / "run", features=[f"feature_{j}" for j in range(made.WIDTH)])
    )
    for width, message in ((8, "lists of 8 numbers, the model takes 6"), (4, "lack 2 of 6")):
        lists(made.plates(EFFECTS), width).to_parquet(tmp_path / "w.parquet")
        with pytest.raises(WellsError, match=message):
            read_queries(Sources.of(tmp_path / "w.parquet"), made_of_lists, Reading())
