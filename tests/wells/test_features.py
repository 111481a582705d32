"""Which columns are features, in the words of many programs."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.features.choice import find_features, why_no_feature

N = 24


def find(names, *, integers=(), text=None, **options):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=N) for name in names}
    columns |= {name: np.arange(3, 3 + N) for name in integers}
    table = pa.table({**columns, **(text or {})})
    options = {"taken": {}, "features": "", **options}
    return find_features("wells.csv", table.schema, head=table.select, **options)


@pytest.mark.parametrize(
    "name",
    [
        *("index", "__index_level_0__", "Unnamed: 0", "row_number", "RowNum", "level_0"),
        *("Row", "Column", "WellColumn", "Position X [µm]", "x", "Y", "Centroid_x", "Field"),
        *("bounding_box_xmin", "BoundingBox_top", "stage_x", "site", "Metadata_Site", "well_row"),
        *("ImageNumber", "ObjectNumber", "compound_number", "cmpd_no", "plate_nr", "pubchem_cid"),
        *("ScreenID", "MeasurementID", "replicate", "Rep", "library_index", "sample_id"),
        *("Plane", "compound", "lot", "fold", "split", "Source", "cluster", "TableNumber"),
        *("library_plate", "target_idx", "scan_order", "acquisition_time", "hit_score", "mAP"),
        *("Cell Count", "n_cells", "Number of Objects", "Nuclei - Number of Objects", "num_nuclei"),
        *("Number of Analyzed Fields", "cell_count", "rel_cell_count", "CellCount"),
        *("cell_count_avg", "Nuclei - Number of Objects - Mean per Well", "CellCount_mean"),
        *("nuclei_count_norm", "cells_per_well", "Number of nuclei (median)", "Count_Nuclei"),
        *("time_h", "Timepoint", "Time [s]", "incubation_time_h", "Volume (nL)", "transfer_volume"),
        *("MW", "mol_weight", "logP", "IC50_uM", "pIC50", "p_value", "active", "mahalanobis"),
        *("conc_uM", "dose_level", "dose_unit", "stock_conc_mM", "Concentration [nM]", "uM"),
        *("Cells_Location_Center_X", "Nuclei_AreaShape_Center_Y", "Cells_Parent_Nuclei"),
        *("Nuclei_AreaShape_BoundingBoxMaximum_X", "Nuclei_Number_Object_Number"),
        "Image_Count_Cells",
        *("Cells_Children_Nucleoli_Count", "Image_ExecutionTime_01LoadData", "Image_Height_DNA"),
    ],
)
def test_what_is_no_feature_by_its_name(name):
    assert why_no_feature(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        *("Area", "DNA mean", "Nuclei - Intensity Mean DAPI", "Nuclei Area [µm²]", "f_a", "emb_0"),
        *("Cells_AreaShape_BoundingBoxArea", "Cells_Neighbors_NumberOfNeighbors_Adjacent"),
        *("Cells_Correlation_Correlation_DNA_ER", "Nuclei_Granularity_1_DNA", "Cell max"),
        *("Nucleoli_Texture_Contrast_RNA_3", "Cytoplasm_RadialDistribution_FracAtD_ER_1of4"),
        *("Cells - Symmetry 02", "Mito_total_intensity", "d_slope", "p_slope_std", "t_orth", "PC1"),
        *("Relative Nucleus Intensity", "Dosage compensation area", "Spots per cell"),
    ],
)
def test_what_is_one(name):
    if name.startswith("Dosage"):
        assert why_no_feature(name) == "they tell doses or their units", "a word is a word"
        return
    assert why_no_feature(name) is None


def test_all_objects_of_cellprofiler():
    names = [
        f"{o}_{f}_{j}"
        for o in ("Cells", "Nucleoli", "Mitochondria", "Cell_membrane", "Median_Golgi_2")
        for f in ("Texture_Contrast_RNA", "AreaShape_Zernike", "RadialDistribution_MeanFrac_ER")
        for j in (1, 2)
    ]
    extra = ["Cells_Location_Center_X", "ratio", "Metadata_Row", "Image_Count_Cells"]
    found = find([*names, *extra])
    assert found.columns == tuple(names)
    assert found.left_out == {
        "they tell places": ["Cells_Location_Center_X"],
        "they are no CellProfiler measurements": ["ratio"],
        "their names begin with Metadata_": ["Metadata_Row"],
        "they count cells": ["Image_Count_Cells"],
    }
    assert "no features, for they tell places: Cells_Location_Center_X" in found.notes


def test_measurements_of_whole_images():
    names = ["Granularity_1_DNA", "ImageQuality_FocusScore_ER", "Intensity_MeanIntensity_DNA"]
    assert find([*names, "Count_Cells", "Width_DNA"]).columns == tuple(names)


def test_the_index_of_a_data_frame_is_no_feature():
    found = find(["Area", "Perimeter", "__index_level_0__", "Unnamed: 0"])
    assert found.columns == ("Area", "Perimeter")
    assert found.left_out == {"they count rows": ["__index_level_0__", "Unnamed: 0"]}


def test_whole_numbers_that_rise_by_one_count_rows():
    found = find(["Area", "Perimeter"], integers=["anything"])
    assert found.columns == ("Area", "Perimeter")
    assert found.left_out == {"they count rows": ["anything"]}


def test_embeddings_by_their_numbers():
    emb = [f"emb_{j}" for j in range(5)]
    found = find(["Area", *emb, "emb_mean"])
    assert found.columns == tuple(emb)
    assert found.left_out == {"they have no part in the numbered columns": ["Area", "emb_mean"]}
    channels = [f"{c}_{j}" for c in ("DNA", "ER", "Mito") for j in range(16)]
    assert find([*channels, "Area"]).columns == tuple(channels), "families of one size"
    few = [f"Zernike_{j}" for j in range(9)]
    many = [f"trait {c}" for c in "abcdefghijklmnop"]
    assert find([*few, *many]).columns == (*few, *many)


def test_a_list_column_and_a_pattern_name_what_they_leave():
    lists = {"vector": [[1.0, 2.0]] * N}
    found = find(["Area"], text=lists)
    assert found.columns == ("vector",)
    assert found.left_out == {"the list column is the profile": ["Area"]}
    found = find(["Area", "Perimeter", "dose"], features="^(Peri|dose)")
    assert found.columns == ("Perimeter", "dose")
    assert found.left_out == {"they do not match '^(Peri|dose)'": ["Area"]}


@pytest.mark.parametrize(
    "text",
    [
        {"FileName_DNA": ["a"] * N},
        {"image": ["plate1/r01c01.tiff"] * N},
        {"channel_1": ["s3://b/x.png"] * N},
    ],
)
def test_rows_of_images_are_refused_with_the_remedy(text):
    with pytest.raises(WellsError, match=r"rows are images .*embed-images"):
        find(["exposure"], text=text)
    assert len(find([f"trait {c}" for c in "abcdefghij"], text=text).columns) == 10


def test_many_left_out_columns_are_counted():
    found = find([f"Cells_Texture_{c}_1" for c in "ab"] + [f"ratio {j}" for j in range(30)])
    (note,) = found.notes
    assert note.count("ratio") == 10
    assert note.endswith("and 20 more")


def test_the_same_in_a_file_with_an_index(tmp_path):
    """`df[mask].to_parquet()` writes the rows' numbers along."""
    from molphenix_jax.wells.table import read_wells

    frame = pd.DataFrame({"smiles": ["CCO", "CCN"] * N, "conc_uM": 1.0})
    for name in ("Area", "DNA mean", "ER sd"):
        frame[name] = np.random.default_rng(len(name)).normal(size=2 * N)
    frame[frame.index % 3 != 0].to_parquet(tmp_path / "wells.parquet")
    wells = read_wells(tmp_path / "wells.parquet", check_smiles=None)
    assert wells.feature_names == ("Area", "DNA mean", "ER sd")


NUMBERS = np.random.default_rng(3).normal(size=(48, 3)).round(4) * 30


def files_with(tmp_path, texts, **more):
    """The same wells as CSV and as Parquet, features as text."""
    frame = pd.DataFrame({"smiles": ["CCO", "CCN"] * N, "conc_uM": 1.0, **more})
    for j, name in enumerate(("Area", "DNA mean", "ER sd")):
        frame[name] = [texts(value) for value in NUMBERS[:, j]]
    frame.to_csv(tmp_path / "w.csv", index=False, sep=";")
    frame.to_parquet(tmp_path / "w.parquet")
    return [tmp_path / "w.csv", tmp_path / "w.parquet"]


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        (lambda v: f"{v:.4f}".replace(".", ","), "decimal commas"),
        (lambda v: f"{v:.4f}".replace(".", ",") if v % 1 else f"{v:.0f}", "decimal commas"),
        (lambda v: f"{v:.4f}", "numbers as text"),
        (lambda v: f"{v * 1000:,.1f}", "thousands are grouped"),
    ],
)
def test_numbers_as_text_are_read_and_said(tmp_path, texts, note):
    from molphenix_jax.wells.table import read_wells

    for path in files_with(tmp_path, texts):
        wells = read_wells(path, check_smiles=None)
        assert wells.feature_names == ("Area", "DNA mean", "ER sd")
        factor = 1000 if "thousands" in note else 1
        np.testing.assert_allclose(wells.embedding, NUMBERS * factor, rtol=1e-6, atol=0.06)
        said = any(note in text for text in wells.notes)
        assert said or (path.suffix == ".csv" and note == "numbers as text")


def test_commas_that_may_be_either_stop_with_the_remedy(tmp_path):
    from molphenix_jax.wells.table import read_wells

    for path in files_with(tmp_path, lambda v: f"{abs(v) * 1000 + 1000:,.0f}"):
        with pytest.raises(WellsError, match=r"'Area': is the comma in '\d+,\d+' a decimal point"):
            read_wells(path, check_smiles=None)


def test_codes_in_text_are_named_and_no_features(tmp_path):
    from molphenix_jax.wells.table import read_wells

    rng = np.random.default_rng(0)
    lots = [f"{n:05d}" for n in rng.integers(0, 99999, 2 * N)]
    _, path = files_with(tmp_path, float, Lot=lots)
    wells = read_wells(path, check_smiles=None)
    assert wells.feature_names == ("Area", "DNA mean", "ER sd")
    assert "no features, for they hold whole numbers as text, as codes do: Lot" in wells.notes
    assert read_wells(path, check_smiles=None, features="Area|Lot").feature_names == ("Lot", "Area")


@pytest.mark.parametrize(
    "cell",
    [
        lambda row: str(list(row)),
        lambda row: " ".join(map(str, row)),
        lambda row: ";".join(str(v).replace(".", ",") for v in row),
        lambda row: "[" + " ".join(str(v).replace(".", ",") for v in row) + "]",
        lambda row: [str(v) for v in row],
    ],
)
def test_lists_of_numbers_as_text(tmp_path, cell):
    from molphenix_jax.wells.table import read_wells

    frame = pd.DataFrame({"smiles": ["CCO", "CCN"] * N, "conc_uM": 1.0})
    frame["vector"] = [cell(row.tolist()) for row in NUMBERS]
    frame.to_parquet(tmp_path / "w.parquet")
    wells = read_wells(tmp_path / "w.parquet", check_smiles=None)
    np.testing.assert_allclose(wells.embedding, NUMBERS, rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("[0.1 0.2 ... 0.9]", "lists are abbreviated by '...'"),
        ("[0.1, 0.2, ..., 0.9]", "lists are abbreviated by '...'"),
        ("no", "holds no list of numbers"),
        ("", "holds no list of numbers"),
    ],
)
def test_text_that_is_no_list_is_a_sentence(tmp_path, cell, words):
    from molphenix_jax.wells.table import read_wells

    frame = pd.DataFrame({"smiles": ["CCO", "CCN"] * N, "conc_uM": 1.0, "embedding": cell})
    frame.to_parquet(tmp_path / "w.parquet")
    frame.to_csv(tmp_path / "w.csv", index=False)
    for name in ("w.parquet", "w.csv"):
        with pytest.raises(WellsError, match=words):
            read_wells(tmp_path / name, check_smiles=None)
