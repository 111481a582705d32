"""Public layouts with their quirks, as small files in the true form, prepared from end to end."""

import pathlib
from collections.abc import Sequence

import h5py
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.parts import forget
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.screen import Screen
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.inputs.layouts import Layout
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny

SMILES = ("CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN(CC)CC")


def run(folder: pathlib.Path, layout: str, tables, embeddings=(), join=()) -> Screen:
    to_paths = lambda names: tuple(folder / name for name in names)  # noqa: E731
    sources = Sources(to_paths(tables), to_paths(embeddings), to_paths(join), layout)
    return prepare(sources, tiny.prepare_config(), cache=folder / "cache")


def noted(prepared: Screen, text: str) -> bool:
    return any(text in note for note in prepared.notes)


def reasons(prepared: Screen) -> list[tuple[int, str]]:
    return list(
        zip(prepared.archive.rejected["row"], prepared.archive.rejected["reason"], strict=True)
    )


# RxRx3-core.


def rxrx3_core(folder: pathlib.Path) -> tuple[pd.DataFrame, np.ndarray]:
    """metadata_rxrx3_core.csv and OpenPhenom_rxrx3_core_embeddings.parquet of two experiments."""
    rows = []
    for experiment in ("compound-001", "compound-002"):
        treatments = ["EMPTY_control"] * 10 + ["CRISPR_control"] * 2 + ["PLK1_guide_2"]
        treatments += [f"RXRX-{i % 4}_x" for i in range(16)]
        for i, treatment in enumerate(treatments):
            drug = treatment.startswith("RXRX")
            crispr = treatment in ("CRISPR_control", "PLK1_guide_2")
            rows.append(
                {
                    "well_id": f"{experiment}_1_A{i:02d}",
                    "experiment_name": experiment,
                    "plate": 1,  # numbered anew in each experiment
                    "address": f"A{i:02d}",
                    "gene": "PLK1" if treatment == "PLK1_guide_2" else treatment,
                    "treatment": treatment,
                    "SMILES": SMILES[i % 4] + (" |r,c:1|" if i % 2 else "") if drug else None,
                    "concentration": (0.25, 2.5)[i // 4 % 2] if drug else np.nan,
                    "perturbation_type": "CRISPR" if crispr else "COMPOUND",
                    "cell_type": "HUVEC",
                }
            )
    metadata = pd.DataFrame(rows)
    metadata.loc[13, "concentration"] = 0.26  # one of the four oddities: 0.25 is meant
    metadata.loc[14, "concentration"] = 0.7  # no dose of this screen
    x = np.random.default_rng(0).normal(size=(len(metadata), 24)).astype(np.float32)
    embeddings = pd.DataFrame(x, columns=[f"feature_{j}" for j in range(24)])
    embeddings.insert(0, "well_id", metadata["well_id"].str.replace("_1_", "_Plate1_"))
    again = embeddings.iloc[[15]].copy()
    again.iloc[0, 1:] += 2.0  # two rows share an id
    lost = embeddings.drop(index=17)
    pd.concat([lost.iloc[::-1], again]).to_parquet(folder / "embeddings.parquet", index=False)
    metadata.to_csv(folder / "metadata.csv", index=False)
    return metadata, x


def test_rxrx3_core(tmp_path):
    metadata, x = rxrx3_core(tmp_path)
    prepared = run(tmp_path, "rxrx3_core", ["metadata.csv"], ["embeddings.parquet"])
    screen = prepared.in_memory()
    assert reasons(prepared) == [
        (15, "concentration is not one of this screen's doses"),
        (18, "no embedding for this key: well compound-001_1_A17"),
    ]
    assert noted(prepared, "1 wells were moved to the nearest of the screen's doses")
    assert noted(prepared, "1 repeated keys in embeddings.parquet were averaged")
    # CRISPR wells and their controls are neither treated molecules nor controls here.
    assert noted(prepared, "6 rows left out: gene perturbations")
    assert len(screen.replicates) == 32 - 2
    np.testing.assert_allclose(np.unique(screen.concentration_um), [0.25, 2.5], rtol=1e-6)
    assert len(screen.molecules) == 4, "the ChemAxon extension does not make another molecule"
    assert set(screen.archive.wells["group"]) == {"compound-001/1", "compound-002/1"}
    # The averaged well lies between its two rows.
    i = int(np.flatnonzero(metadata.index == 15)[0])
    corrected = screen.archive.correction.apply(x[[i]] + 1.0, ["compound-001/1"])
    assert (np.abs(screen.replicates - corrected).max(axis=1) < 1e-4).any()


# Bray2017 as CLOOME has it.


def bray2017(
    folder: pathlib.Path, molecules: Sequence[str] = SMILES
) -> tuple[list[str], np.ndarray]:
    """Two index files, keyed PLATE-WELL-SITE, without dose; embeddings of sites in HDF5."""
    columns, n = range(1, len(molecules) // 2 + 1), len(molecules)
    keys = [
        f"{p}-{w}{i:02d}-{s}" for p in (24277, 24278) for w in "ab" for i in columns for s in "12"
    ]
    smiles = [molecules[i // 2 % n] for i in range(len(keys))]
    index = pd.DataFrame({"SAMPLE_KEY": keys, "SMILES": smiles, "CPD_NAME": "x"})
    index.iloc[:10].to_csv(folder / "train.csv", index=False)
    index.iloc[10:].to_csv(folder / "test.csv", index=False)
    x = np.random.default_rng(1).normal(size=(len(keys), 6)).astype(np.float32)
    with h5py.File(folder / "embeddings.h5", "w") as file:
        file["embeddings"] = x[::-1]
        file["names"] = [key.encode() for key in keys[::-1]]
    np.savez(folder / "embeddings.npz", embeddings=x, names=np.array(keys))
    return keys, x


@pytest.mark.parametrize("file", ["embeddings.h5", "embeddings.npz"])
def test_bray2017(tmp_path, file):
    _, x = bray2017(tmp_path)
    prepared = run(tmp_path, "bray2017", ["train.csv", "test.csv"], [file])
    screen = prepared.in_memory()
    assert noted(prepared, "16 sites were averaged to 8 wells")
    assert noted(prepared, "no concentration column: treated wells are at 5.0 µM")
    assert noted(prepared, "joined train.csv, test.csv and")
    assert screen.n_perturbations == 4
    assert screen.n_replicates.tolist() == [2, 2, 2, 2]
    wells = x.reshape(8, 2, 6).mean(axis=1)
    groups = ["0"] * 8
    own = screen.archive.correction.apply(wells[[0, 4]], groups[:2])
    np.testing.assert_allclose(screen.replicates[:2], own, atol=1e-5)


def test_an_array_file_without_names(tmp_path):
    bray2017(tmp_path)
    np.savez(tmp_path / "embeddings.npz", embeddings=np.zeros((3, 2)))
    with pytest.raises(WellsError, match=r"embeddings.npz: needs an array 'embeddings' and one of"):
        run(tmp_path, "bray2017", ["train.csv"], ["embeddings.npz"])


# pycytominer: LINCS and JUMP.


def profiles(n: int, plate: str, seed: int, **columns) -> pd.DataFrame:
    """Level-4 profiles of one plate: Metadata_ columns, then CellProfiler features."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"Metadata_Plate": plate, "Metadata_Well": [f"A{i:02d}" for i in range(n)]}
    )
    frame = frame.assign(**columns)
    for name in ("Cells_AreaShape_Area", "Cytoplasm_Texture_1", "Nuclei_Intensity_2"):
        frame[name] = rng.normal(size=n)
    return frame


def test_lincs(tmp_path):
    """One csv.gz for each plate; broad_sample with its batch, compounds by broad_id without it."""
    ids = [f"BRD-K0000000{i}" for i in range(4)]
    sample = ["DMSO"] * 8 + [f"{ids[i % 4]}-001-0{i % 3}-1" for i in range(12)]
    dose = [0.0] * 8 + [1.11, 3.33, 10.0] * 4
    for i, plate in enumerate(("SQ00014812", "SQ00014813")):
        frame = profiles(20, plate, i, Metadata_broad_sample=sample, Metadata_mmoles_per_liter=dose)
        if i:
            frame["Cells_only_here"] = 1.0  # feature selection differs from plate to plate
        frame.to_csv(tmp_path / f"{plate}_normalized.csv.gz", index=False)
    compounds = pd.DataFrame({"broad_id": ids[:3], "pert_iname": "x", "smiles": SMILES[:3]})
    compounds.to_csv(tmp_path / "compounds.tsv", sep="\t", index=False)
    plates = [f"SQ0001481{i}_normalized.csv.gz" for i in (2, 3)]
    prepared = run(tmp_path, "pycytominer", plates, join=["compounds.tsv"])
    screen = prepared.in_memory()
    assert len(screen.molecules) == 3
    assert screen.n_perturbations == 9
    assert screen.n_replicates.tolist() == [2] * 9
    assert noted(prepared, "joined compounds.tsv on Metadata_broad_sample: 18 of 40 rows found")
    assert noted(prepared, "1 columns are not in all 2 files: Cells_only_here")
    assert noted(prepared, "controls: 'Metadata_broad_sample' is 'DMSO' (16 wells)")
    lost = prepared.archive.rejected
    assert set(lost["reason"]) == {
        f"no row in compounds.tsv for Metadata_broad_sample {ids[3]}-001-0{i}-1" for i in range(3)
    }
    assert lost["row"].tolist() == [12, 16, 20] * 2, "rows are counted in their own file"
    assert [pathlib.Path(f).name for f in lost["file"]] == [plates[0]] * 3 + [plates[1]] * 3
    assert len(screen.feature_names) == 3


def test_jump(tmp_path):
    """Profiles know the well only: well.csv.gz gives the compound, compound.csv.gz its SMILES."""
    plates = []
    for i, plate in enumerate(("BR00117035", "BR00117036")):
        profiles(20, plate, i, Metadata_Source="source_4").to_parquet(tmp_path / f"{plate}.parquet")
        plates.append(f"{plate}.parquet")
    jcp = ["JCP2022_033924"] * 8 + [f"JCP2022_00000{i % 4}" for i in range(12)]
    wells = [
        {
            "Metadata_Source": source,
            "Metadata_Plate": plate.removesuffix(".parquet"),
            "Metadata_Well": f"A{i:02d}",
            "Metadata_JCP2022": compound,
        }
        for source in ("source_3", "source_4")
        for plate in plates
        for i, compound in enumerate(jcp if source == "source_4" else jcp[::-1])
    ]
    pd.DataFrame(wells).to_csv(tmp_path / "well.csv.gz", index=False)
    pd.DataFrame(
        {
            "Metadata_JCP2022": ["JCP2022_033924", *(f"JCP2022_00000{i}" for i in range(4))],
            "Metadata_InChIKey": "x",
            "Metadata_SMILES": ["CS(C)=O", *SMILES],
        }
    ).to_csv(tmp_path / "compound.csv.gz", index=False)
    prepared = run(tmp_path, "pycytominer", plates, join=["well.csv.gz", "compound.csv.gz"])
    screen = prepared.in_memory()
    assert not len(prepared.archive.rejected)
    assert screen.n_perturbations == len(screen.molecules) == 4
    assert screen.n_replicates.tolist() == [6] * 4
    keys = "Metadata_Source, Metadata_Plate, Metadata_Well"
    assert noted(prepared, f"joined well.csv.gz on {keys}: 40 of 40")
    assert noted(prepared, "joined compound.csv.gz on Metadata_JCP2022: 40 of 40")


# One from outside.


def test_a_layout_of_ones_own_names_columns_and_is_part_of_the_screen(tmp_path):
    theirs = {"ITEM": SMILES * 3 + ("",) * 8, "AMT": [1.02] * 12 + [0.0] * 8}
    table = profiles(20, "P1", 0, **theirs).assign(is_control=[False] * 12 + [True] * 8)
    table.to_csv(tmp_path / "export.csv", index=False)
    names = {"smiles": "ITEM", "concentration_um": "AMT", "cell_line": "absent"}
    found = []
    for doses in ((1.0, 10.0), ()):
        layout = Layout("exports", columns=names, doses_um=doses)
        molphenix_jax.register("wells_layout", "lab", layout)
        try:
            found.append(run(tmp_path, "lab", ["export.csv"]))
        finally:
            forget([("wells_layout", "lab")])
    snapped, plain = (screen.in_memory() for screen in found)
    assert snapped.n_perturbations == plain.n_perturbations == 4
    assert set(snapped.concentration_um) == {1.0}
    assert set(plain.concentration_um) == {np.float32(1.02)}
    stored = [screen.provenance["layout"] for screen in found]
    assert all(name.startswith("lab ") for name in stored)
    assert len(set(stored)) == 2
