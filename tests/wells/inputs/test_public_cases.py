"""Inputs from public reports that were once misread, rebuilt with synthetic values."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.screen import Screen
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import WellsError, read_wells
from tests import tiny

SMILES = (
    *("CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CC(=O)Nc1ccc(O)cc1"),
    *("CC(C)Cc1ccc(cc1)C(C)C(=O)O", "OC(=O)c1ccccc1O", "CCN(CC)CCNC(=O)c1ccc(N)cc1"),
    *("Clc1ccccc1C2=NCC(=O)Nc3ccccc23", "CN1CCCC1c1cccnc1", "COc1ccc2[nH]cc(CCN)c2c1"),
    *("NCCc1ccc(O)c(O)c1", "OCC1OC(O)C(O)C(O)C1O", "CNC[C@H](O)c1ccc(O)c(O)c1"),
)


def plates(doses, n_plates=3, *, n_molecules=12, n_controls=8, d=12) -> pd.DataFrame:
    """Every molecule at every dose on every plate, then controls without SMILES or dose."""
    rows = []
    for plate in range(1, n_plates + 1):
        treated = [(s, c) for s in SMILES[:n_molecules] for c in doses]
        for i, (smiles, dose) in enumerate(treated + [("", np.nan)] * n_controls):
            well = f"{'ABCDEFGHIJKLMNOP'[i // 24]}{i % 24 + 1:02d}"
            rows.append({"plate": f"P{plate}", "well": well, "smiles": smiles, "dose": dose})
    frame = pd.DataFrame(rows)
    x = np.random.default_rng(0).normal(size=(len(frame), d)).astype(np.float32)
    objects = ("Cells", "Cytoplasm", "Nuclei")
    features = {f"{objects[j % 3]}_Texture_F{j}": x[:, j] for j in range(d)}
    return frame.assign(**features)


def run(folder: pathlib.Path, tables, *, layout="wells", embeddings=(), join=(), **config):
    to_paths = lambda names: tuple(folder / name for name in names)  # noqa: E731
    sources = Sources(to_paths(tables), to_paths(embeddings), to_paths(join), layout)
    return prepare(sources, tiny.prepare_config(**config), cache=folder / "cache")


def noted(prepared: Screen, *texts: str) -> bool:
    return any(all(text in note for text in texts) for note in prepared.notes)


def test_rxrx19_names_its_dose_treatment_conc(tmp_path):
    """Controls have neither treatment nor SMILES nor dose; embeddings are keyed by site_id."""
    frame = plates((0.1, 1.0, 10.0), n_plates=2, n_controls=12)
    site = "HUVEC-1_" + frame["plate"].str[1:] + "_" + frame["well"] + "_1"
    metadata = pd.DataFrame(
        {
            "site_id": site,
            "well_id": site.str.removesuffix("_1"),
            "experiment": "HUVEC-1",
            "plate": frame["plate"].str[1:],
            "well": frame["well"],
            "site": 1,
            "treatment": [f"cmpd-{s}" if s else "" for s in frame["smiles"]],
            "treatment_conc": frame["dose"],
            "SMILES": frame["smiles"],
        }
    )
    metadata.to_csv(tmp_path / "metadata.csv", index=False)
    x = frame.filter(like="Texture").set_axis([f"feature_{j}" for j in range(12)], axis=1)
    x.insert(0, "site_id", site)
    x.to_csv(tmp_path / "embeddings.csv", index=False)
    prepared = run(tmp_path, ["metadata.csv"], embeddings=["embeddings.csv"])
    store = prepared
    assert store.n_perturbations == 36
    np.testing.assert_allclose(np.unique(store.concentration_um), [0.1, 1, 10])
    assert prepared.archive.rejected.empty
    assert store.offsets[-1] == len(frame) - 24, "24 controls"
    assert noted(prepared, "'treatment_conc' are taken as µM", "no unit is named")
    header = json.loads((store.folder / "screen.json").read_text())
    assert header["concentration"]["column"] == "treatment_conc"
    assert header["concentration"]["unit"] == "µM"
    assert header["concentration"]["how"].startswith("assumed")


def test_a_unit_column_is_read_row_by_row(tmp_path):
    frame = plates((500.0, 5.0)).rename(columns={"dose": "concentration"})
    frame["concentration_unit"] = frame["concentration"].map({500.0: "nM", 5.0: "uM"})
    frame.to_csv(tmp_path / "wells.csv", index=False)
    prepared = run(tmp_path, ["wells.csv"])
    np.testing.assert_allclose(np.unique(prepared.concentration_um), [0.5, 5.0])
    assert prepared.n_perturbations == 24
    assert len(prepared.feature_names) == 12
    assert noted(prepared, "taken as nM, µM, by column 'concentration_unit', row by row")


@pytest.mark.parametrize("factor", [1.001, 1.003, 0.995])
def test_doses_of_plates_that_differ_by_rounding_are_replicates(tmp_path, factor):
    frame = plates((1.1111, 3.3333, 10.0), n_plates=4)
    frame.loc[frame["plate"] == "P4", "dose"] *= factor
    frame = frame.rename(columns=lambda c: f"Metadata_{c}" if "_" not in c else c)
    frame = frame.rename(columns={"Metadata_dose": "Metadata_mmoles_per_liter"})
    frame.to_csv(tmp_path / "profiles.csv.gz", index=False)
    prepared = run(tmp_path, ["profiles.csv.gz"], layout="pycytominer")
    store = prepared
    assert store.n_perturbations == 36
    assert np.diff(store.offsets).tolist() == [4] * 36
    np.testing.assert_allclose(np.unique(store.concentration_um), [1.11, 3.33, 10.0], rtol=1e-6)
    assert noted(prepared, "36 wells at 3 doses count as the dose within 1%", "→ 10 (12 wells)")
    assert not noted(prepared, "single replicate")


def test_doses_that_are_two_stay_two(tmp_path):
    frame = plates((3.0, 3.3)).rename(columns={"dose": "conc_uM"})
    frame.to_csv(tmp_path / "wells.csv", index=False)
    store = run(tmp_path, ["wells.csv"])
    assert store.n_perturbations == 24
    np.testing.assert_allclose(np.unique(store.concentration_um), [3.0, 3.3])


def test_the_unit_can_be_given(tmp_path):
    frame = plates((100.0, 1000.0))
    frame.to_parquet(tmp_path / "wells.parquet")
    store = run(tmp_path, ["wells.parquet"], concentration_unit="nM")
    np.testing.assert_allclose(np.unique(store.concentration_um), [0.1, 1.0], rtol=1e-6)
    header = json.loads((store.folder / "screen.json").read_text())
    assert header["concentration"] == {
        "column": "dose",
        "unit": "nM",
        "how": "--concentration-unit",
    }


def test_all_objects_of_cellprofiler_are_features(tmp_path):
    frame = plates((1.0, 10.0), d=60).rename(columns={"dose": "concentration_um"})
    objects = ("Cells", "Cytoplasm", "Nuclei", "Nucleoli", "Mitochondria", "Cell_membrane")
    old = frame.filter(like="Texture").columns
    names = {name: f"{objects[j % 6]}_Texture_F{j}" for j, name in enumerate(old)}
    frame.rename(columns=names).to_csv(tmp_path / "wells.csv", index=False)
    prepared = run(tmp_path, ["wells.csv"])
    assert set(prepared.feature_names) == set(names.values())


def test_the_index_of_a_filtered_data_frame_is_no_feature(tmp_path):
    frame = plates((1.0, 10.0)).rename(columns={"dose": "concentration_um"})
    words = ("Area", "Perimeter", "Eccentricity", "Solidity", "DNA mean", "DNA sd", "ER mean")
    words += ("ER sd", "RNA mean", "AGP mean", "Mito mean", "Mito sd")
    frame = frame.rename(columns=dict(zip(frame.filter(like="Texture"), words, strict=True)))
    frame[np.arange(len(frame)) % 9 != 0].to_parquet(tmp_path / "wells.parquet")
    prepared = run(tmp_path, ["wells.parquet"])
    assert prepared.feature_names == words
    assert noted(prepared, "no features, for they count rows: __index_level_0__")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spell",
    [
        lambda plate, row, column: (plate, f"{row}{column}"),
        lambda plate, row, column: (plate.lower(), f"{row.lower()}{column:03d}"),
        lambda plate, row, column: (f"{plate} ", f"{row} {column}"),
        lambda plate, row, column: (plate, f"r{ord(row) - 64:02d}c{column:02d}"),
    ],
)
def test_a_platemap_may_spell_wells_in_its_own_way(tmp_path, spell):
    frame = plates((1.0, 10.0), n_plates=4, n_controls=12)
    features = frame.filter(like="Texture")
    profiles = frame[["plate", "well"]].add_prefix("Metadata_").join(features)
    profiles.to_parquet(tmp_path / "profiles.parquet", index=False)
    places = zip(frame["plate"], frame["well"], strict=True)
    spelled = [spell(plate, well[0], int(well[1:])) for plate, well in places]
    platemap = pd.DataFrame(spelled, columns=["plate_barcode", "Well_Position"])
    platemap["SMILES"], platemap["conc_uM"] = frame["smiles"], frame["dose"]
    platemap["is_control"] = frame["smiles"] == ""
    platemap.to_csv(tmp_path / "platemap.csv", index=False)
    prepared = run(tmp_path, ["profiles.parquet"], join=["platemap.csv"])
    assert prepared.archive.rejected.empty
    assert prepared.offsets[-1] == 96
    assert noted(prepared, "joined platemap.csv on", "144 of 144 rows found")


def test_wells_by_number_are_not_guessed(tmp_path):
    frame = plates((1.0, 10.0), n_plates=2)
    frame[["plate", "well"]].join(frame.filter(like="Texture")).to_parquet(tmp_path / "w.parquet")
    platemap = frame[["plate", "smiles", "dose"]].assign(well=frame.groupby("plate").cumcount() + 1)
    platemap.to_csv(tmp_path / "platemap.csv", index=False)
    with pytest.raises(WellsError, match=r"it has plate P1, well 1, .* by rows .* or by columns"):
        run(tmp_path, ["w.parquet"], join=["platemap.csv"])


def test_a_join_says_what_it_lacks_and_so_does_every_rejected_row(tmp_path):
    frame = plates((1.0, 10.0), n_plates=2)
    features = frame.filter(like="Texture")
    frame[["plate", "well"]].join(features).to_parquet(tmp_path / "profiles.parquet")
    platemap = frame[["plate", "well", "smiles", "dose"]].copy()
    platemap.loc[5, "well"] = "H12"
    platemap.to_csv(tmp_path / "platemap.csv", index=False)
    prepared = run(tmp_path, ["profiles.parquet"], join=["platemap.csv"])
    assert prepared.archive.rejected[["row", "field", "reason"]].values.tolist() == [
        [6, "well", "no row in platemap.csv for plate P1, well A06"]
    ]
    assert noted(prepared, "63 of 64 rows found; it lacks plate P1, well A06, and has 1 that")
    # Two rows for one well that say different things are nobody's to choose from.
    pd.concat([platemap, platemap.iloc[[7]].assign(smiles="CCO")]).to_csv(
        tmp_path / "platemap.csv", index=False
    )
    with pytest.raises(WellsError, match=r"rows 8 and 65 have the same key \(plate P1, well A08\)"):
        run(tmp_path, ["profiles.parquet"], join=["platemap.csv"])
    pd.concat([platemap, platemap.iloc[[7]]]).to_csv(tmp_path / "platemap.csv", index=False)
    assert len(run(tmp_path, ["profiles.parquet"], join=["platemap.csv"]).archive.rejected) == 1


@pytest.mark.parametrize("chunk", [1 << 22, 100])
def test_cells_are_averaged_to_wells(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr("molphenix_jax.tables.rows.CHUNK_VALUES", chunk)
    frame = plates((10.0,), n_plates=3)
    n, rng = 25, np.random.default_rng(1)
    cells = frame.loc[frame.index.repeat(n)].reset_index(drop=True)
    texture = [c for c in cells if "Texture" in c]
    cells[texture] += rng.normal(size=(len(cells), len(texture)))
    cells.loc[3, texture[0]] = np.nan
    cells = cells.rename(
        columns={
            **{"plate": "Image_Metadata_Plate", "well": "Image_Metadata_Well"},
            **{"smiles": "Metadata_SMILES", "dose": "Metadata_concentration_um"},
        }
    )
    cells.insert(0, "Metadata_ImageNumber", np.arange(len(cells)) // n + 1)
    cells.insert(1, "Metadata_Cells_Number_Object_Number", np.arange(len(cells)) % n + 1)
    order = rng.permutation(len(cells)) if chunk == 100 else np.arange(len(cells))
    cells.iloc[order].to_parquet(tmp_path / "cells.parquet", index=False)
    wells = read_wells(tmp_path / "cells.parquet", check_smiles=None)
    assert wells.rejected.empty
    assert noted_in(wells.notes, f"{len(cells):,} cells were averaged to {len(frame)} wells")
    assert noted_in(wells.notes, "over the 1 values that are missing or infinite")
    means = cells.groupby(["Image_Metadata_Plate", "Image_Metadata_Well"])[texture].mean()
    got = pd.DataFrame(wells.embedding, [wells.table["plate"], wells.table["well"]], texture)
    np.testing.assert_allclose(got.sort_index(), means.sort_index(), rtol=1e-4, atol=1e-6)


def test_a_plate_that_was_copied_under_another_name_is_said(tmp_path):
    frame = plates((10.0,), n_plates=1)
    copy = frame.assign(plate="P9")
    pd.concat([frame, copy]).to_csv(tmp_path / "wells.csv", index=False)
    notes = read_wells(tmp_path / "wells.csv", check_smiles=None).notes
    assert noted_in(
        notes, "20 wells hold the very values of another well (P9 A01 first: those of P1"
    )
    # Empty wells are alike, and other conditions are no replicates.
    texture = [name for name in frame if "Texture" in name]
    copy[texture] = copy[texture].to_numpy() + np.arange(12)
    frame.loc[frame.index[:2], texture] = copy.loc[copy.index[:3], texture] = 0.0
    apart = pd.concat([frame.assign(time_h=24), copy.assign(time_h=24), copy.assign(time_h=48)])
    apart.to_csv(tmp_path / "wells.csv", index=False)
    assert not noted_in(read_wells(tmp_path / "wells.csv", check_smiles=None).notes, "very values")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "channel",
            ["DNA", "ER", "Mito"],
            r"parts of its profile \(column 'channel': DNA, ER, Mito",
        ),
        ("Metadata_Compartment", ["Cells", "Nuclei"], "parts of its profile"),
        ("statistic", ["mean", "std"], "parts of its profile"),
        ("FRAME", [1, 2, 3], r"of several times \(column 'FRAME': 1, 2, 3\).*conditions=FRAME"),
    ],
)
def test_rows_that_are_no_samples_of_a_well_are_not_averaged(tmp_path, name, values, message):
    frame = plates((10.0,), n_plates=2)
    rows = pd.concat([frame.assign(**{name: value}) for value in values])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(WellsError, match=message):
        read_wells(tmp_path / "rows.csv", check_smiles=None)
    frame.assign(**{name: values[0]}).to_csv(tmp_path / "rows.csv", index=False)
    assert len(read_wells(tmp_path / "rows.csv", check_smiles=None).table) == len(frame)
    if name == "FRAME":
        rows.to_csv(tmp_path / "rows.csv", index=False)
        wells = read_wells(tmp_path / "rows.csv", check_smiles=None, conditions=name)
        assert len(wells.table) == len(rows)


def test_a_long_table_of_features_is_refused(tmp_path):
    frame = plates((10.0,), n_plates=2)
    keys = ["plate", "well", "smiles", "dose"]
    frame.melt(keys, var_name="feature").to_csv(tmp_path / "long.csv", index=False)
    with pytest.raises(WellsError, match="parts of its profile .*'feature': Cells_Texture_F0"):
        read_wells(tmp_path / "long.csv", check_smiles=None)


def test_a_join_that_finds_nothing_says_what_both_sides_have(tmp_path):
    frame = plates((1.0, 10.0), n_plates=2)
    platemap = frame[["plate", "well", "smiles", "dose"]].assign(plate=frame["plate"] + "_b")
    platemap.to_csv(tmp_path / "map.csv", index=False)
    frame.drop(columns=["smiles", "dose"]).to_parquet(tmp_path / "profiles.parquet")
    with pytest.raises(WellsError, match="none of the wells: they have plate P1, well A01.*P1_b"):
        run(tmp_path, ["profiles.parquet"], join=["map.csv"])


def test_rows_and_columns_are_counted_alike(tmp_path):
    """Columns from 0 and rows from 1 would be two ways of counting in one table."""
    frame = plates((1.0,), n_plates=2)
    frame["well"] = [f"{'BCDE'[i % 20 // 6]}{i % 20 % 6 + 1:02d}" for i in range(len(frame))]
    platemap = frame[["plate", "smiles", "dose"]].assign(
        row=[ord(well[0]) - 65 for well in frame["well"]],
        col=[int(well[1:]) - 1 for well in frame["well"]],
    )
    platemap.to_csv(tmp_path / "map.csv", index=False)
    frame.drop(columns=["smiles", "dose"]).to_parquet(tmp_path / "profiles.parquet")
    prepared = run(tmp_path, ["profiles.parquet"], join=["map.csv"])
    assert noted(prepared, "40 of 40 rows found")
    assert prepared.n_perturbations == 12


def test_ids_of_sixteen_digits_are_told_apart(tmp_path):
    frame = plates((10.0,), n_plates=2)
    first = 1_000_000_000_000_001
    number = {smiles: float(first + i) for i, smiles in enumerate(SMILES)}
    profiles = frame.drop(columns="smiles").assign(is_control=frame["smiles"] == "")
    profiles["compound_id"] = [number.get(smiles, np.nan) for smiles in frame["smiles"]]
    profiles.to_parquet(tmp_path / "profiles.parquet")
    ids = [first + i for i in range(len(SMILES))]
    pd.DataFrame({"compound_id": ids, "smiles": SMILES}).to_csv(tmp_path / "c.csv", index=False)
    assert run(tmp_path, ["profiles.parquet"], join=["c.csv"]).n_perturbations == 12


def test_a_measurement_that_holds_text_is_named(tmp_path):
    frame = plates((10.0,), n_plates=2)
    frame["Nuclei_Texture_Odd"] = [f"({i}.5)" for i in range(len(frame))]
    frame.to_csv(tmp_path / "wells.csv", index=False)
    notes = read_wells(tmp_path / "wells.csv", check_smiles=None).notes
    assert noted_in(notes, "no features, for they hold text: Nuclei_Texture_Odd")


@pytest.mark.parametrize("parts", ["ObjectNumber", "Site"])
def test_parts_of_wells_that_do_not_say_of_which_are_no_wells(tmp_path, parts):
    frame = plates((10.0,), n_plates=2)
    cells = frame.loc[frame.index.repeat(3)].reset_index(drop=True)
    cells[parts] = np.arange(len(cells)) % 3 + 1
    cells.loc[[4, 50], "well"] = ""
    cells.loc[80, "plate"] = ""
    cells.to_csv(tmp_path / "cells.csv", index=False)
    wells = read_wells(tmp_path / "cells.csv", check_smiles=None)
    assert len(wells.table) == len(frame)
    rejected = wells.rejected.set_index("row")
    assert rejected["field"].to_dict() == {5: "well", 51: "well", 81: "plate"}
    assert rejected["reason"].str.contains(f"column '{parts}' tells parts").all()


def test_what_wells_and_a_joined_table_both_have_is_filled_and_compared(tmp_path):
    frame = plates((1.0, 10.0), n_plates=2).assign(is_control=lambda t: t["smiles"] == "")
    platemap = frame[["plate", "well", "smiles", "dose", "is_control"]]
    platemap.to_csv(tmp_path / "platemap.csv", index=False)
    frame.loc[:9, "smiles"] = ""
    frame.loc[12, "smiles"] = "CCO"
    frame.to_parquet(tmp_path / "profiles.parquet")
    prepared = run(tmp_path, ["profiles.parquet"], join=["platemap.csv"])
    assert prepared.archive.rejected.empty
    assert prepared.n_perturbations == 25
    kept = "platemap.csv has 'smiles' too: the wells keep their own, with 10 gaps filled from it; "
    assert noted(prepared, kept, f"1 of 64 rows differ (row 13 first: 'CCO' and {SMILES[6]!r})")
    assert noted(prepared, "platemap.csv has 'is_control' too: the wells keep their own")
    assert not noted(prepared, "'is_control'", "differ")


def test_batches_of_a_broad_id_that_are_other_molecules_are_nobodys_to_choose(tmp_path):
    frame = plates((10.0,), n_plates=2)
    number = {smiles: f"BRD-K{i:08d}" for i, smiles in enumerate(SMILES)}
    profiles = frame.drop(columns="smiles").assign(is_control=frame["smiles"] == "")
    profiles["broad_id"] = [number.get(smiles, "") for smiles in frame["smiles"]]
    profiles.to_parquet(tmp_path / "profiles.parquet")
    compounds = pd.DataFrame({"smiles": SMILES})
    compounds["broad_sample"] = [f"{number[s]}-001-01-1" for s in SMILES]
    again = compounds.iloc[[3]].assign(broad_sample=f"{number[SMILES[3]]}-001-02-9")
    pd.concat([compounds, again]).to_csv(tmp_path / "c.csv", index=False)
    assert run(tmp_path, ["profiles.parquet"], join=["c.csv"]).n_perturbations == 12
    pd.concat([compounds, again.assign(smiles="CCO")]).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(WellsError, match="rows 4 and 13 have the same key .*differ in 'smiles'"):
        run(tmp_path, ["profiles.parquet"], join=["c.csv"])


def noted_in(notes, text: str) -> bool:
    return any(text in note for note in notes)
