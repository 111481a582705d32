"""A screen remembers which well each replicate is, and what its table says of it."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.screen import Screen
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny

CORRECTION = {"correction": "none", "group_by": "batch"}


def screen_of(folder, *tables: pd.DataFrame, join: pd.DataFrame | None = None) -> Screen:
    """Prepared from Parquet files table0, table1, …, uncorrected, and a compound table."""
    for i, table in enumerate(tables):
        table.to_parquet(folder / f"table{i}.parquet")
    files = tuple(folder / f"table{i}.parquet" for i in range(len(tables)))
    joined = ()
    if join is not None:
        join.to_csv(folder / "compounds.csv", index=False)
        joined = (folder / "compounds.csv",)
    config = tiny.prepare_config(**CORRECTION)
    return prepare(Sources(files, join=joined), config, cache=folder / "cache")


@pytest.fixture
def frame(cache) -> pd.DataFrame:
    """The tiny screen with columns that nothing is decided by."""
    wells = tiny.wells(cache)
    wells["Metadata_pert_iname"] = wells["smiles"].map(
        lambda s: "DMSO" if s is None or s != s else f"drug {len(s)}"
    )
    wells["MOA"] = np.where(wells.index % 3 == 0, None, "kinase")
    wells["Metadata_Count"] = wells.index.to_numpy() * 1.5
    wells["Image_PathName_DNA"] = [f"/images/{i}" for i in wells.index]
    wells["group"] = "mine"
    return wells


def test_each_replicate_has_its_well_and_the_users_columns(frame, tmp_path):
    frame.loc[frame.index[~frame["is_control"]][5], "smiles"] = "not a molecule"
    screen = screen_of(tmp_path, frame)
    wells = screen.archive.wells
    assert len(wells) == screen.n_wells == (~frame["is_control"]).sum() - 1
    source = frame.iloc[wells["row"] - 1].reset_index(drop=True)
    for name in ("plate", "well", "batch", "smiles", "Metadata_pert_iname", "Metadata_Count"):
        assert wells[name].tolist() == source[name].tolist(), name
    assert wells["compound"].tolist() == source["Metadata_pert_iname"].tolist()
    assert wells["MOA"].isna().tolist() == source["MOA"].isna().tolist()
    assert wells["Metadata_group"].tolist() == ["mine"] * len(wells)
    assert set(wells["file"]) == {"table0.parquet"}
    assert not [name for name in wells if "Path" in name]
    # Uncorrected profiles are the features of the well that the table names.
    features = np.stack(source["embedding"].to_list())
    np.testing.assert_allclose(screen.in_memory().replicates, features, rtol=1e-6)
    dose = screen.concentration_um[screen.perturbation_of_replicate]
    np.testing.assert_allclose(dose, source["concentration_um"], rtol=1e-3)


def test_joined_columns_come_along_and_contradictions_beside_the_point_do_not_stop(frame, tmp_path):
    compounds = frame[["smiles"]].drop_duplicates().dropna().assign(vendor="Acme")
    compounds["lot"] = [f"L{i}" for i in range(len(compounds))]
    again = compounds.iloc[:3].assign(vendor="Other")
    screen = screen_of(tmp_path, frame, join=pd.concat([compounds, again]))
    wells = screen.archive.wells
    assert set(wells["vendor"]) == {"Acme"}, "the first row of a compound"
    lot = compounds.set_index("smiles")["lot"]
    assert wells["lot"].tolist() == lot[wells["smiles"]].tolist()


def test_rows_count_from_one_in_each_file(frame, tmp_path):
    first = frame[frame["batch"] == frame["batch"].iloc[0]]
    second = frame.drop(first.index)
    wells = screen_of(tmp_path, first, second).archive.wells
    for name, part in (("table0.parquet", first), ("table1.parquet", second)):
        own = wells[wells["file"] == name]
        source = part.iloc[own["row"] - 1]
        assert len(own) == (~part["is_control"]).sum()
        assert own["plate"].tolist() == source["plate"].tolist()
        assert own["well"].tolist() == source["well"].tolist()
        assert own["Metadata_Count"].tolist() == source["Metadata_Count"].tolist()
