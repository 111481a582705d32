"""What spreadsheets and instruments leave in tables: shortened numbers, sums, fields, tensors."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.tables.names import well_key
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import WellsError, read_wells
from tests.wells.test_wells import noted, plates


def read(frame: pd.DataFrame, folder, **how):
    frame.to_csv(folder / "wells.csv", index=False, **how)
    return read_wells(folder / "wells.csv", check_smiles=None)


@pytest.mark.parametrize("column", ["plate", "batch"])
@pytest.mark.parametrize("shortened", ["1.23457E+11", "1,23E+12", "2E+10"])
def test_plates_whose_numbers_a_spreadsheet_has_shortened_are_not_one(tmp_path, column, shortened):
    with pytest.raises(WellsError, match=rf"'{column}' holds .*E\+1\d, a number that a spread"):
        read(plates().assign(**{column: shortened}), tmp_path)


def test_keys_of_a_join_that_a_spreadsheet_has_shortened_stop(tmp_path):
    frame = plates()
    frame["compound_id"] = [f"{123456000000 + i % 8}" for i in range(len(frame))]
    frame.drop(columns="smiles").to_csv(tmp_path / "wells.csv", index=False)
    compounds = pd.DataFrame({"compound_id": ["1.23456E+11"], "smiles": ["CCO"]})
    compounds.to_csv(tmp_path / "compounds.csv", index=False)
    sources = Sources((tmp_path / "wells.csv",), (), (tmp_path / "compounds.csv",), "wells")
    with pytest.raises(WellsError, match=r"compounds.csv: column 'compound_id' holds 1.23456E\+11"):
        read_wells(sources, check_smiles=None)


def test_rows_of_means_and_empty_rows_are_no_wells(tmp_path):
    frame = plates()
    mean = frame.iloc[[20]].assign(well="Mean", feature_0=0.0)
    empty = pd.DataFrame([{}] * 3, columns=frame.columns)
    wells = read(pd.concat([frame, mean, empty]), tmp_path)
    assert wells.rejected[["row", "value", "reason"]].fillna("").values.tolist() == [
        [65, "Mean", "no well where the others are named as A01: a row of means or totals?"],
        *([row, "", "the row is empty"] for row in (66, 67, 68)),
    ]
    assert len(wells.table) == 64
    # Where wells have other names, none is right or wrong.
    assert len(read(frame.assign(well=[f"spot {i}" for i in range(64)]), tmp_path).table) == 64


@pytest.mark.parametrize("way", ["{}_s{}", "{}:f{}", "{} - Field {}", "Well {}_site_{}"])
def test_fields_in_the_names_of_wells_are_fields_of_one_well(tmp_path, way):
    frame = plates()
    fields = [
        frame.assign(
            well=[way.format(well, field) for well in frame["well"]],
            feature_0=frame["feature_0"] + field,
        )
        for field in (1, 2)
    ]
    wells = read(pd.concat(fields), tmp_path)
    assert noted(wells, "128 rows were averaged to 64 wells")
    np.testing.assert_allclose(wells.embedding[:, 0], frame["feature_0"] + 1.5, rtol=1e-5)


def test_names_of_wells_with_fields_are_those_without():
    for text in ("A01_s1", "a1:f2", "Well A01", "r01c01", "r01c01f03p01", "A-1 fov 7"):
        assert well_key(text) == well_key("A01")
    assert well_key("AB12") != well_key("B12")


def test_tensors_and_views_are_what_they_are_stored_as(tmp_path):
    frame = plates()
    x = np.ascontiguousarray(frame.filter(like="feature_").to_numpy(np.float32))
    table = pa.table(
        {
            "smiles": pa.array(frame["smiles"].tolist(), pa.string_view()),
            "plate": frame["plate"].tolist(),
            "well": frame["well"].tolist(),
            "dose": frame["concentration_um"].tolist(),
            "id": pa.array([bytes(15) + bytes([i]) for i in range(64)], pa.uuid()),
            "embedding": pa.FixedShapeTensorArray.from_numpy_ndarray(x),
        }
    )
    pq.write_table(table, tmp_path / "wells.parquet")
    wells = read_wells(tmp_path / "wells.parquet", check_smiles=None)
    np.testing.assert_array_equal(wells.embedding, x)
    assert wells.table["smiles"].tolist() == frame["smiles"].tolist()


def test_numbers_of_which_some_have_a_percent_sign_are_not_guessed(tmp_path):
    frame = plates()
    whole = frame["feature_1"].map(lambda v: f"{100 * v:.3f}%")
    wells = read(frame.assign(feature_1=whole), tmp_path)
    np.testing.assert_allclose(wells.embedding[:, 1], 100 * frame["feature_1"], atol=1e-3)
    some = whole.where(frame.index % 2 == 0, frame["feature_1"].map("{:.5f}".format))
    with pytest.raises(WellsError, match="'feature_1': are the numbers without a percent sign in"):
        read(frame.assign(feature_1=some), tmp_path)
    left = read_wells(tmp_path / "wells.csv", check_smiles=None, features="feature_[02]")
    assert noted(left, "only some are in percent: feature_1")
    zeros = whole.where(frame.index % 2 == 0, "0")
    assert len(read(frame.assign(feature_1=zeros), tmp_path).feature_names) == 8
