"""Numbers of cells and sources are found by the names that people give them."""

import types

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.confounders import (
    CONTROL_CELLS,
    cell_column,
    confounders_of,
    mechanisms_of,
)
from molphenix_jax.screens.prepare import prepare
from tests import tiny

OFFSETS = np.array([0, 2, 3, 6])


def found(**columns):
    columns = {"group": list("aaabbb"), **columns}
    archive = types.SimpleNamespace(wells=pd.DataFrame(columns))
    return confounders_of(types.SimpleNamespace(archive=archive, offsets=OFFSETS))


def screen(**columns):
    archive = types.SimpleNamespace(wells=pd.DataFrame(columns))
    return types.SimpleNamespace(
        archive=archive, offsets=OFFSETS, n_perturbations=3, molecules=[0, 1, 2]
    )


@pytest.mark.parametrize(
    "name",
    [
        *("rel_cell_count", "Metadata_Count_Cells", "Cells_Count_Cells", "n_cells", "CellCount"),
        *("Image_Count_Nuclei", "nuclei_count", "Number of Cells", "Count_Cells"),
    ],
)
def test_counts_go_by_many_names(name):
    assert cell_column(["plate", "cell_line", name, "Cells_AreaShape_Area"]) == name


@pytest.mark.parametrize("name", ["cell_line", "Cells_AreaShape_Area", "batch", CONTROL_CELLS])
def test_other_columns_are_none(name):
    assert cell_column([name]) == ""


def test_the_relative_number_of_cells_comes_first():
    names = ["Count_Nuclei", "Count_Cells", "rel_cell_count"]
    assert cell_column(names) == "rel_cell_count"
    assert cell_column(names[:2]) == "Count_Cells"


def test_means_leave_out_what_is_unknown_or_withheld():
    told = found(n_cells=[100, 300, None, 50, None, 150])
    ids = np.array([2, 0, 1])
    np.testing.assert_array_equal(told.mean_cells(ids), [100, 200, np.nan])
    wells = np.array([True, False, True, False, True, True])
    np.testing.assert_array_equal(told.mean_cells(ids, wells=wells), [150, 100, np.nan])


@pytest.mark.parametrize(
    ("columns", "share", "sentence"),
    [
        ({"rel_cell_count": [100, 50, 80, 90, 10, 110]}, [0.75, 0.8, 0.7], "relative by its name"),
        ({"rel_cell_count": [1, 0.5, 0.8, 0.9, 0.1, 1.1]}, [0.75, 0.8, 0.7], "by its name"),
        (
            {"n_cells": [10, 5, 8, 90, 10, 110], CONTROL_CELLS: [10.0] * 3 + [100.0] * 3},
            [0.75, 0.8, 0.7],
            "the median control",
        ),
        ({"n_cells": [8, 4, 16, 50, 100, 200]}, [0.75, 2, 350 / 300], "median treated well"),
    ],
)
def test_shares_are_of_controls_where_these_are_known(columns, share, sentence):
    told = found(**columns)
    np.testing.assert_allclose(told.mean_share(np.arange(3)), share)
    assert any(sentence in text for text in told.told)


def test_sources_are_all_combinations_that_vary():
    told = found(
        Metadata_Source=list("xxyyyy"),
        batch=list("112122"),
        dataset=["one"] * 6,
        plate=list("abcdef"),
    )
    assert told.sources == ("x / 1", "y / 1", "y / 2")
    expected = [[1, 0, 0], [0, 0, 1], [0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(told.sources_of(np.arange(3)), expected)


@pytest.mark.parametrize("name", ["moa", "Metadata_MOA", "mechanism of action", "class"])
def test_mechanisms_are_those_of_most_wells(name):
    named = screen(**{name: ["HDAC", "HDAC", None, "kinase", "kinase", "HDAC"]})
    column, label = mechanisms_of(named)
    assert column == name
    assert label.tolist() == ["HDAC", "", "kinase"]


@pytest.mark.parametrize(
    "values",
    [["a"] * 6, ["Unknown", "other", "", None, "nan", "Miscellaneous"], list("aabccc")],
    ids=["one for all", "none known", "one for each molecule"],
)
def test_names_that_tell_nothing_apart_are_no_mechanisms(values):
    assert mechanisms_of(screen(moa=values))[1] is None
    assert mechanisms_of(screen(plate=values)) == ("", None)


def test_a_screen_that_says_nothing_has_none():
    told = found(batch=["0"] * 6, n_cells=[None] * 6)
    assert told.mean_share(np.arange(3)) is None
    assert np.isnan(told.mean_cells(np.arange(3))).all()
    assert told.sources_of(np.arange(3)) is None
    older = found()
    assert older.mean_cells(np.arange(3)) is None
    assert older.told == ()


@pytest.mark.parametrize("name", ["Metadata_Count_Cells", "rel_cell_count"])
def test_preparing_keeps_the_number_of_the_controls(name, cache, tmp_path):
    table = tiny.wells(cache)
    control = table["is_control"].to_numpy(bool)
    cells = np.where(control, 400, np.random.default_rng(0).integers(100, 400, len(table)))
    path = tmp_path / "counted.parquet"
    table.assign(**{name: cells}).to_parquet(path)
    screen = prepare(str(path), tiny.prepare_config(), cache=tmp_path / "screens")
    assert (screen.archive.wells[CONTROL_CELLS] == 400).all()
    told = confounders_of(screen)
    ids = np.arange(screen.n_perturbations)
    np.testing.assert_allclose(told.mean_share(ids), told.mean_cells(ids) / 400)
    assert told.mean_share(ids).max() < 1
    assert name not in screen.feature_names
