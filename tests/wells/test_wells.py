import numpy as np
import pandas as pd
import pytest

from molphenix_jax.wells.table import Wells, WellsError, read_wells

SMILES = ("CCO", "CCN", "c1ccccc1", "CC(=O)O")


def parse(smiles):
    """A stand-in for the molecule parser."""
    return ["cannot be parsed" if "?" in s else None for s in smiles]


def plates(n_plates=2, n_controls=8, n_treated=24, d=8):
    """A clean screen in our own names: every plate with controls and treated wells."""
    rng = np.random.default_rng(0)
    n = n_controls + n_treated
    frame = pd.DataFrame(
        {
            "plate": np.repeat([f"P{i}" for i in range(n_plates)], n),
            "well": [f"{'ABCD'[i // 12]}{i % 12 + 1:02d}" for i in range(n)] * n_plates,
            "batch": "exp1",
            "smiles": ([""] * n_controls + [SMILES[i % 4] for i in range(n_treated)]) * n_plates,
            "concentration_um": ([0.0] * n_controls + [0.1, 1.0, 10.0] * (n_treated // 3))
            * n_plates,
            "is_control": ([True] * n_controls + [False] * n_treated) * n_plates,
        }
    )
    features = rng.normal(size=(len(frame), d)).astype(np.float32)
    for j in range(d):
        frame[f"feature_{j}"] = features[:, j]
    return frame


def read(frame, tmp_path, suffix="parquet", **options) -> Wells:
    path = tmp_path / f"wells.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    return read_wells(path, check_smiles=options.pop("check_smiles", parse), **options)


def noted(wells, text):
    return any(text in note for note in wells.notes)


def only_rejected(wells, row, field, value, reason):
    """Exactly this row was rejected, and it is not in the table."""
    assert wells.rejected[["row", "field", "value"]].values.tolist() == [[row, field, value]]
    assert reason in wells.rejected["reason"][0]
    assert wells.rejected["file"][0] == wells.path
    assert row not in set(wells.table["row"])


def test_a_clean_screen_is_kept_whole(tmp_path):
    frame = plates()
    wells = read(frame, tmp_path)
    columns = ["plate", "well", "batch", "smiles", "concentration_um", "is_control"]
    pd.testing.assert_frame_equal(wells.table[columns], frame[columns], check_dtype=False)
    assert wells.table["row"].tolist() == list(range(1, 65))
    assert wells.table["is_control"].dtype == bool
    assert wells.embedding.dtype == np.float32
    np.testing.assert_array_equal(wells.embedding, frame.filter(like="feature_"))
    assert wells.feature_names == tuple(f"feature_{j}" for j in range(8))
    assert wells.rejected.empty
    assert wells.group_by == "plate"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz"])
def test_csv_and_parquet_give_the_same(tmp_path, suffix):
    frame = plates()
    frame["batch"] = "01"  # must not turn into 1
    frame["plate"] = frame["plate"].map({"P0": "007", "P1": "8"})
    frame.loc[9, "feature_3"] = np.nan
    frame.loc[10, "concentration_um"] = -1.0
    a, b = read(frame, tmp_path), read(frame, tmp_path, suffix)
    pd.testing.assert_frame_equal(a.table, b.table)
    np.testing.assert_array_equal(a.embedding, b.embedding)
    assert (a.table["plate"].unique() == ["007", "8"]).all()
    columns = ["row", "field", "reason"]
    pd.testing.assert_frame_equal(a.rejected[columns], b.rejected[columns])
    assert (a.feature_names, a.group_by) == (b.feature_names, b.group_by)


def test_whole_numbers_name_the_same_plate_in_both_formats(tmp_path):
    frame = plates()
    frame["plate"] = frame["plate"].map({"P0": 1.0, "P1": 2.0})
    frame.loc[20, "plate"] = np.nan  # what turns whole numbers into floats
    for suffix in ("parquet", "csv"):
        wells = read(frame, tmp_path, suffix)
        assert wells.table["plate"].unique().tolist() == ["1", "2"]


def test_excel_csv_with_byte_order_mark_and_semicolons(tmp_path):
    path = tmp_path / "excel.csv"
    plates().to_csv(path, index=False, sep=";", encoding="utf-8-sig")
    assert len(read_wells(path, check_smiles=parse).table) == 64


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_list_column(tmp_path, suffix):
    frame = plates()
    features = frame.filter(like="feature_")
    lists = frame.drop(columns=features.columns)
    lists["embedding"] = features.to_numpy().tolist()
    lists.at[12, "embedding"] = [1.0, 2.0]
    lists.at[13, "embedding"] = None
    wells = read(lists, tmp_path, suffix)
    assert wells.rejected["row"].tolist() == [13, 14]
    assert wells.rejected["field"].tolist() == ["embedding"] * 2
    assert wells.rejected["reason"].tolist() == ["not a list of 8 numbers"] * 2
    assert wells.feature_names == tuple(f"feature_{j}" for j in range(8))
    kept = np.delete(features.to_numpy(), [12, 13], axis=0)
    np.testing.assert_array_equal(wells.embedding, kept)


def test_fixed_size_lists(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = plates()
    features = frame.filter(like="feature_").to_numpy()
    table = pa.Table.from_pandas(frame.iloc[:, :6], preserve_index=False)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), 8)
    pq.write_table(table.append_column("vector", lists), tmp_path / "fixed.parquet")
    wells = read_wells(tmp_path / "fixed.parquet", check_smiles=parse)
    np.testing.assert_array_equal(wells.embedding, features)


@pytest.mark.parametrize(
    ("field", "value", "shown", "reason"),
    [
        ("smiles", "C?C", "C?C", "cannot be parsed"),
        ("smiles", "", "", "no SMILES"),
        ("smiles", None, "", "no SMILES"),
        ("concentration_um", "-1", "-1", "negative"),
        ("concentration_um", "ten", "ten", "not a number"),
        ("concentration_um", "inf", "inf", "infinite"),
        ("concentration_um", "0", "0", "is 0 on a treated well"),
        ("concentration_um", None, "", "no concentration"),
        ("plate", None, "", "unknown plate"),
        ("is_control", "perhaps", "perhaps", "neither true nor false"),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_bad_row_is_rejected_and_named(tmp_path, suffix, field, value, shown, reason):
    frame = plates().astype({"concentration_um": str, "is_control": str})
    frame.loc[20, field] = value
    wells = read(frame, tmp_path, suffix)
    only_rejected(wells, 21, field, shown, reason)
    assert len(wells.table) == len(wells.embedding) == 63


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_feature_that_is_not_finite(tmp_path, suffix, value):
    frame = plates().astype({"feature_5": np.float64})
    frame.loc[30, "feature_5"] = value
    wells = read(frame, tmp_path, suffix)
    shown = "nan" if np.isnan(value) else "-inf" if value < 0 else "inf"
    only_rejected(wells, 31, "feature_5", shown, "1 of 8 features are missing, NaN or infinite")
    assert np.isfinite(wells.embedding).all()


def test_a_word_among_the_numbers_of_a_csv(tmp_path):
    frame = plates().astype({"feature_5": str})
    frame.loc[30, "feature_5"] = "overexposed"
    wells = read(frame, tmp_path, "csv")
    assert len(wells.feature_names) == 8
    only_rejected(wells, 31, "feature_5", "nan", "1 of 8 features")


def test_the_file_s_own_column_name_is_in_the_report(tmp_path):
    frame = plates().rename(columns={"concentration_um": "Metadata_dose"})
    frame.loc[20, "Metadata_dose"] = -3.5
    only_rejected(read(frame, tmp_path), 21, "Metadata_dose", "-3.5", "negative")


def test_the_first_reason_counts_and_every_bad_row_is_listed_once(tmp_path):
    frame = plates()
    frame.loc[20, ["smiles", "concentration_um", "feature_0"]] = ["?", -1.0, np.nan]
    frame.loc[21, ["concentration_um", "feature_0"]] = [-1.0, np.nan]
    wells = read(frame, tmp_path)
    assert wells.rejected["field"].tolist() == ["smiles", "concentration_um"]
    assert len(wells.table) + len(wells.rejected) == len(frame)


def test_controls_need_neither_smiles_nor_dose(tmp_path):
    frame = plates()
    frame.loc[frame["is_control"], "concentration_um"] = np.nan
    frame.loc[0, ["smiles", "concentration_um"]] = ["???", 5.0]
    wells = read(frame, tmp_path)
    assert wells.rejected.empty
    assert (wells.table.loc[wells.table["is_control"], "concentration_um"] == 0).all()


def test_smiles_are_checked_once_each(tmp_path):
    asked = []

    def check(smiles):
        asked.extend(smiles)
        return [None] * len(smiles)

    read(plates(), tmp_path, check_smiles=check)
    assert sorted(asked) == sorted(SMILES)


def test_without_a_parser_only_empty_smiles_are_rejected(tmp_path):
    frame = plates()
    frame.loc[20, "smiles"] = "not a molecule"
    frame.loc[21, "smiles"] = "  "
    wells = read(frame, tmp_path, check_smiles=None)
    only_rejected(wells, 22, "smiles", "", "no SMILES")


def test_duplicate_wells(tmp_path):
    frame = plates()
    frame = pd.concat([frame, frame.iloc[[20, 40, 20]]], ignore_index=True)
    wells = read(frame, tmp_path)
    assert wells.rejected["row"].tolist() == [65, 66, 67]
    assert wells.rejected["reason"].tolist() == [
        f"same well and values as row {r}" for r in (21, 41, 21)
    ]
    assert wells.rejected["value"][0] == "P0 B09"
    assert wells.table["row"].tolist() == list(range(1, 65))


def test_a_rejected_row_does_not_reject_its_duplicate(tmp_path):
    frame = plates()
    frame = pd.concat([frame, frame.iloc[[20]]], ignore_index=True)
    frame.loc[20, "smiles"] = "?"
    only_rejected(read(frame, tmp_path), 21, "smiles", "?", "cannot be parsed")


def test_different_rows_of_a_well_are_averaged_over_gaps(tmp_path):
    frame = plates()
    again = frame.iloc[[20, 20]].copy()
    again["feature_1"] = [np.nan, 7.0]
    again["feature_2"] = np.inf
    wells = read(pd.concat([frame, again], ignore_index=True), tmp_path)
    assert wells.rejected.empty
    assert len(wells.table) == 64
    own = frame.loc[20]
    assert wells.embedding[20, 0] == pytest.approx(own["feature_0"])
    assert wells.embedding[20, 1] == pytest.approx((own["feature_1"] + 7) / 2)
    assert wells.embedding[20, 2] == pytest.approx(own["feature_2"])
    assert noted(wells, "66 rows were averaged to 64 wells, over the 3 values that are missing")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"smiles": "CCCC"}, "CCO at 10 µM in row 21, CCCC at 10 µM in row 65"),
        ({"concentration_um": 3.0}, "CCO at 10 µM in row 21, CCO at 3 µM in row 65"),
        ({"is_control": True}, "CCO at 10 µM in row 21, control in row 65"),
    ],
)
def test_a_well_with_two_treatments_is_rejected_whole(tmp_path, change, said):
    frame = plates()
    frame.loc[20, ["smiles", "concentration_um"]] = ["CCO", 10.0]
    frame = pd.concat([frame, frame.iloc[[20]].assign(**change)], ignore_index=True)
    wells = read(frame, tmp_path)
    assert wells.rejected["row"].tolist() == [21, 65]
    assert set(wells.rejected["reason"]) == {f"one well, two treatments: {said}"}


def test_spellings_of_a_well_and_a_plate_are_one(tmp_path):
    frame = plates()
    frame["plate"] = frame["plate"].map({"P0": "007", "P1": "Plate 8"})
    frame.loc[:4, "plate"] = "7"
    frame.loc[40:, "plate"] = "PLATE_08"
    again = frame.iloc[[8, 50]].copy()
    again["well"] = ["a9", "b 7"]
    again["feature_0"] += 2.0
    wells = read(pd.concat([frame, again], ignore_index=True), tmp_path)
    assert len(wells.table) == 64
    assert wells.table["plate"].unique().tolist() == ["7", "Plate 8"], "the first spelling"
    assert wells.embedding[8, 0] == pytest.approx(frame.loc[8, "feature_0"] + 1)
    assert noted(wells, "wells are spelled in several ways and taken as one: a9, b 7")
    assert noted(wells, "plates are spelled in several ways and taken as one: 007, PLATE_08")


def test_plates_that_are_spelled_nearly_alike_may_be_two(tmp_path):
    frame = plates()
    frame["plate"] = frame["plate"].map({"P0": "7", "P1": "07"})
    wells = read(frame, tmp_path)
    assert len(wells.table) == 64
    assert wells.table["plate"].nunique() == 2
    assert noted(wells, "they are taken as different plates")


@pytest.mark.parametrize("first", [0, 1])
def test_rows_and_columns_place_a_well(tmp_path, first):
    frame = plates()
    wells = frame.pop("well")
    frame["Row"] = [ord(w[0]) - 65 + first for w in wells]
    frame["Column"] = [int(w[1:]) - 1 + first for w in wells]
    if first:
        frame["Row"] = [w[0].lower() for w in wells]
    read_wells = read(frame, tmp_path)
    assert read_wells.table["well"].tolist() == wells.tolist()
    assert len(read_wells.feature_names) == 8


def test_parts_of_unknown_wells_are_refused(tmp_path):
    frame = plates(n_plates=1)
    cells = pd.concat([frame, frame]).assign(ObjectNumber=1).drop(columns="plate")
    with pytest.raises(
        WellsError, match=r"parts of wells .column 'ObjectNumber'.*no column for pl"
    ):
        read(cells, tmp_path)
    sites = pd.concat([frame.assign(site=1), frame.assign(site=2)]).drop(columns="plate")
    with pytest.raises(WellsError, match=r"parts of wells .column 'site'"):
        read(sites, tmp_path)


def test_wells_without_a_plate_are_no_duplicates(tmp_path):
    frame = plates().drop(columns="plate")
    assert len(read(frame, tmp_path).table) == 64


def test_plate_labels_that_recur_in_each_batch_are_different_plates(tmp_path):
    first, second = plates(), plates()
    second["batch"] = "exp2"
    wells = read(pd.concat([first, second], ignore_index=True), tmp_path)
    assert wells.rejected.empty
    assert wells.table["plate"].unique().tolist() == ["exp1/P0", "exp1/P1", "exp2/P0", "exp2/P1"]
    assert noted(wells, "<batch>/<plate>")


def test_sites_of_a_well_are_averaged(tmp_path):
    frame = plates()
    frame["Metadata_Site"] = 1
    second = frame.assign(Metadata_Site=2, feature_0=frame["feature_0"] + 2.0)
    third = second.iloc[[5]]
    wells = read(pd.concat([frame, second, third], ignore_index=True), tmp_path)
    assert wells.rejected["row"].tolist() == [129]  # the same site twice, value by value
    assert wells.table["row"].tolist() == list(range(1, 65))
    np.testing.assert_allclose(wells.embedding[:, 0], frame["feature_0"] + 1, rtol=1e-6)
    np.testing.assert_allclose(wells.embedding[:, 1], frame["feature_1"], rtol=1e-6)
    assert noted(wells, "128 sites were averaged to 64 wells")


def test_constant_features_are_dropped_with_a_note(tmp_path):
    frame = plates()
    frame["feature_2"] = np.float32(0.1)
    wells = read(frame, tmp_path)
    assert wells.feature_names == tuple(f"feature_{j}" for j in (0, 1, 3, 4, 5, 6, 7))
    assert wells.embedding.shape == (64, 7)
    assert noted(
        wells, "1 of 8 features dropped, constant in the seven digits that are read: feature_2"
    )


def test_numbers_that_stand_for_gaps_are_gaps(tmp_path):
    """-999 and its like, twice and far beyond the others; not where they may be measured."""
    frame = plates(n_plates=10)
    frame["feature_7"] = np.round(frame["feature_7"] * 300)
    frame.loc[[30, 31], "feature_1"] = -999.0
    frame.loc[40, "feature_2"] = -999.0
    frame.loc[50, "feature_3"] = -666.0  # alone: whoever wrote it may have measured it
    frame.loc[[60, 61], "feature_7"] = [-99, 999]
    wells = read(frame, tmp_path)
    assert noted(
        wells,
        "3 values such as people write for a gap, far beyond all others of their feature, are "
        "taken as missing: feature_1 (-999), feature_2 (-999)",
    )
    assert wells.rejected["row"].tolist() == [31, 32, 41]
    assert set(wells.rejected["field"]) == {"feature_1", "feature_2"}
    assert wells.feature_names == tuple(f"feature_{j}" for j in range(8))
    # In rows that are averaged they are no part of the mean; here -666 is there twice too.
    sites = pd.concat([frame.assign(site=1), frame.assign(site=2)], ignore_index=True)
    sites.loc[30, "feature_1"], sites.loc[31, "feature_1"] = 0.5, 0.25
    sites["feature_0"] += sites["site"]
    averaged = read(sites, tmp_path)
    at = averaged.table["row"].isin([31, 32]).to_numpy()
    np.testing.assert_array_equal(np.asarray(averaged.embedding)[at, 1], [0.5, 0.25])
    assert noted(averaged, "over the 6 values that are missing")


def test_features_whose_digits_are_not_kept_are_named(tmp_path):
    frame = plates(n_plates=10)
    offset = frame["feature_2"].astype(float)
    frame["feature_2"] = 1e9 + 100 * offset  # of 64 steps each: noise for the most part
    frame["feature_3"] = 1e9 + offset
    frame["feature_4"] = 1e6 + np.arange(len(frame)) % 2  # exact
    frame["feature_5"] = 1e5 + offset  # 100 steps in an SD
    wells = read(frame, tmp_path)
    assert noted(
        wells, "1 of 8 features dropped, constant in the seven digits that are read: feature_3"
    )
    assert noted(wells, "not kept: subtract a constant from them: feature_2")
    assert wells.feature_names == tuple(f"feature_{j}" for j in (0, 1, 4, 5, 6, 7))
    wanted = tuple(f"feature_{j}" for j in range(8))
    assert noted(read(frame, tmp_path, feature_names=wanted), "by the training screen: feature_2")
    frame[list(wanted)] = 1e9 + np.random.default_rng(0).uniform(-9, 9, (len(frame), 8))
    with pytest.raises(WellsError, match="all 8 features .* constant in the seven digits"):
        read(frame, tmp_path)
    frame[list(wanted)] = 1e9 + 100 * np.random.default_rng(0).normal(size=(len(frame), 8))
    with pytest.raises(WellsError, match="all 8 features .* too far from 0 .* subtract a constant"):
        read(frame, tmp_path)


def test_features_with_many_gaps_are_dropped_with_a_note(tmp_path):
    frame = plates(n_plates=10)
    frame.loc[frame["plate"] == "P3", ["feature_1", "feature_6"]] = np.nan
    frame.loc[12, "feature_0"] = np.nan
    wells = read(frame, tmp_path)
    assert not noted(wells, "dropped")
    assert len(wells.rejected) == 33  # 2 of 8 features are worth more than a tenth of the wells

    frame.loc[frame["plate"] < "P4", ["feature_1", "feature_6"]] = np.inf
    wells = read(frame, tmp_path)
    assert noted(wells, "2 of 8 features dropped, missing or infinite in too many wells: feature_1")
    only_rejected(wells, 13, "feature_0", "nan", "1 of 6")


def test_features_of_another_screen_are_taken_as_they_are(tmp_path):
    frame = plates()
    frame["feature_2"] = 1.0
    wanted = ("feature_5", "feature_2", "feature_0")
    wells = read(frame, tmp_path, feature_names=wanted)
    assert wells.feature_names == wanted
    np.testing.assert_array_equal(wells.embedding, frame[list(wanted)].to_numpy(np.float32))
    with pytest.raises(
        WellsError, match="lacks 1 of 2 features of the training screen, 'feature_99'"
    ):
        read(frame, tmp_path, feature_names=("feature_0", "feature_99"))
    one = read(frame.iloc[[20]], tmp_path, feature_names=wanted)
    assert one.embedding.shape == (1, 3)


def test_features_of_another_screen_in_a_list_column(tmp_path):
    frame = plates()
    features = frame.filter(like="feature_").to_numpy()
    lists = frame.iloc[:, :6].assign(embedding=features.tolist())
    wells = read(lists, tmp_path, feature_names=("feature_3", "feature_1"))
    np.testing.assert_array_equal(wells.embedding, features[:, [3, 1]])
    with pytest.raises(WellsError, match="feature_8"):
        read(lists, tmp_path, feature_names=("feature_3", "feature_8"))
