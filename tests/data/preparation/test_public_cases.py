"""Inputs from public reports that were once misread, rebuilt with synthetic values."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.data.preparation.source import Sources
from molphenix_jax.data.prepare import Prepared, prepare
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


def noted(prepared: Prepared, *texts: str) -> bool:
    return any(all(text in note for text in texts) for note in prepared.store.notes)


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
    store = prepared.store
    assert store.n_perturbations == 36
    np.testing.assert_allclose(np.unique(store.concentration_um), [0.1, 1, 10])
    assert prepared.rejected.empty
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
    np.testing.assert_allclose(np.unique(prepared.store.concentration_um), [0.5, 5.0])
    assert prepared.store.n_perturbations == 24
    assert len(prepared.store.feature_names) == 12
    assert noted(prepared, "taken as nM, µM, by column 'concentration_unit', row by row")


@pytest.mark.parametrize("factor", [1.001, 1.003, 0.995])
def test_doses_of_plates_that_differ_by_rounding_are_replicates(tmp_path, factor):
    frame = plates((1.1111, 3.3333, 10.0), n_plates=4)
    frame.loc[frame["plate"] == "P4", "dose"] *= factor
    frame = frame.rename(columns=lambda c: f"Metadata_{c}" if "_" not in c else c)
    frame = frame.rename(columns={"Metadata_dose": "Metadata_mmoles_per_liter"})
    frame.to_csv(tmp_path / "profiles.csv.gz", index=False)
    prepared = run(tmp_path, ["profiles.csv.gz"], layout="pycytominer")
    store = prepared.store
    assert store.n_perturbations == 36
    assert np.diff(store.offsets).tolist() == [4] * 36
    np.testing.assert_allclose(np.unique(store.concentration_um), [1.11, 3.33, 10.0], rtol=1e-6)
    assert noted(prepared, "36 wells at 3 doses count as the dose within 1%", "→ 10 (12 wells)")
    assert not noted(prepared, "single replicate")


def test_doses_that_are_two_stay_two(tmp_path):
    frame = plates((3.0, 3.3)).rename(columns={"dose": "conc_uM"})
    frame.to_csv(tmp_path / "wells.csv", index=False)
    store = run(tmp_path, ["wells.csv"]).store
    assert store.n_perturbations == 24
    np.testing.assert_allclose(np.unique(store.concentration_um), [3.0, 3.3])


def test_the_unit_can_be_given(tmp_path):
    frame = plates((100.0, 1000.0))
    frame.to_parquet(tmp_path / "wells.parquet")
    store = run(tmp_path, ["wells.parquet"], concentration_unit="nM").store
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
    assert set(prepared.store.feature_names) == set(names.values())


def test_the_index_of_a_filtered_data_frame_is_no_feature(tmp_path):
    frame = plates((1.0, 10.0)).rename(columns={"dose": "concentration_um"})
    words = ("Area", "Perimeter", "Eccentricity", "Solidity", "DNA mean", "DNA sd", "ER mean")
    words += ("ER sd", "RNA mean", "AGP mean", "Mito mean", "Mito sd")
    frame = frame.rename(columns=dict(zip(frame.filter(like="Texture"), words, strict=True)))
    frame[np.arange(len(frame)) % 9 != 0].to_parquet(tmp_path / "wells.parquet")
    prepared = run(tmp_path, ["wells.parquet"])
    assert prepared.store.feature_names == words
    assert noted(prepared, "no features, for they count rows: __index_level_0__")
