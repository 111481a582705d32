"""A few broken wells change nothing but that they are named: tables to screens."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.wells.table import read_wells
from tests import tiny

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "CN1CCCC1c1cccnc1",
    "Clc1ccccc1",
    "OCC1OC(O)C(O)C(O)C1O",
    "NC(=O)c1cccnc1",
    "CCO",
    "c1ccc2ccccc2c1",
    "CC(N)Cc1ccccc1",
    "O=C(O)c1ccccc1O",
]
FEATURES = [f"Cells_Texture_F{i}" for i in range(40)]
GROUPED = ("plate", "batch")
CONTROL_ROWS = ([24], [24, 25, 60])
TREATED_ROWS = ([3], [3, 40, 120])  # where 100 SD may be biology


def table(seed=0) -> pd.DataFrame:
    """24 pairs on 4 plates, one well each, and 12 controls a plate."""
    rng = np.random.default_rng(seed)
    effect = 1.5 * rng.normal(size=(24, 40))
    frames = []
    for plate in range(4):
        shift = rng.normal(size=40)
        treated = pd.DataFrame(rng.normal(size=(24, 40)) + effect + shift, columns=FEATURES)
        treated.insert(0, "smiles", np.repeat(SMILES, 2))
        treated.insert(1, "concentration_um", np.tile([1.0, 10.0], 12))
        controls = pd.DataFrame(rng.normal(size=(12, 40)) + shift, columns=FEATURES)
        controls.insert(0, "smiles", "CS(C)=O")
        controls.insert(1, "concentration_um", 0.0)
        both = pd.concat([treated, controls], ignore_index=True)
        both.insert(0, "plate", f"P{plate}")
        both.insert(1, "well", [f"{'ABC'[i // 12]}{i % 12 + 1:02d}" for i in range(36)])
        frames.append(both)
    whole = pd.concat(frames, ignore_index=True)
    whole["is_control"] = whole["smiles"] == "CS(C)=O"
    return whole


def wrong(how: str, wells: pd.DataFrame, rows: list[int]) -> pd.DataFrame:
    wells, rng = wells.copy(), np.random.default_rng(1)
    if how == "one feature":
        wells.loc[rows, FEATURES[0]] = 1e6
    else:
        size = {"a million": 1e6, "100 SD": 100.0, "30 SD": 30.0}[how]
        wells.loc[rows, FEATURES] = size * rng.choice([-1.0, 1.0], (len(rows), 40))
    return wells


def same_wells(a, b) -> None:
    pd.testing.assert_frame_equal(a.table.drop(columns="row"), b.table.drop(columns="row"))
    np.testing.assert_array_equal(a.embedding, b.embedding)
    assert a.feature_names == b.feature_names


@pytest.mark.slow
@pytest.mark.parametrize("group_by", GROUPED)
@pytest.mark.parametrize(
    ("how", "rows"),
    [
        *((h, r) for h in ("a million", "100 SD", "30 SD", "one feature") for r in CONTROL_ROWS),
        *((h, r) for h in ("a million", "one feature") for r in TREATED_ROWS),
    ],
)
def test_a_table_is_read_as_if_it_had_no_broken_well(how, rows, group_by, tmp_path):
    whole = table()
    wrong(how, whole, rows).to_parquet(tmp_path / "broken.parquet")
    whole.drop(index=rows).to_parquet(tmp_path / "without.parquet")
    broken, without = (
        read_wells(tmp_path / f"{name}.parquet", check_smiles=None, group_by=group_by)
        for name in ("broken", "without")
    )
    same_wells(broken, without)
    assert not len(without.rejected)
    assert list(broken.rejected["row"]) == [row + 1 for row in rows]
    for row, reason, value in zip(
        rows, broken.rejected["reason"], broken.rejected["value"], strict=True
    ):
        place = " ".join(whole.loc[row, ["plate", "well"]])
        assert place in reason + value
        assert "limit 10: set aside" in reason or "beyond 10,000 robust SDs" in reason
    (note,) = (note for note in broken.notes if "set aside" in note)
    assert all(" ".join(whole.loc[row, ["plate", "well"]]) in note for row in rows)


def test_exploding_features_are_dropped_and_named(tmp_path):
    wells = table()
    wells["Cells_Texture_Rare"] = 0.5
    wells.loc[[5, 70], "Cells_Texture_Rare"] = 1e9
    wells["Cells_Texture_Vanishing"] = np.random.default_rng(0).normal(size=len(wells))
    wells.loc[wells["is_control"], "Cells_Texture_Vanishing"] *= 1e-12
    wells.to_parquet(tmp_path / "wells.parquet")
    read = read_wells(tmp_path / "wells.parquet", check_smiles=None)
    assert list(read.feature_names) == FEATURES
    assert not len(read.rejected)
    (note,) = (note for note in read.notes if "exploding" in note)
    assert note.startswith("2 of 42 features dropped")
    assert note.endswith("Cells_Texture_Rare, Cells_Texture_Vanishing")


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["none", "centerscale", "pca_cs", "tvn"])
def test_the_screen_is_the_one_without_the_broken_control(correction, tmp_path):
    """On disk as in memory, and as many pairs are active."""
    whole = table()
    wrong("a million", whole, [24]).to_parquet(tmp_path / "broken.parquet")
    whole.drop(index=[24]).to_parquet(tmp_path / "without.parquet")
    broken, without = (
        prepare(
            tmp_path / f"{name}.parquet",
            tiny.prepare_config(correction=correction),
            cache=tmp_path / "cache",
        )
        for name in ("broken", "without")
    )
    a, b = broken.in_memory(), without.in_memory()
    np.testing.assert_array_equal(a.replicates, b.replicates)
    np.testing.assert_array_equal(a.p_value, b.p_value)
    assert (a.p_value <= 0.05).sum() >= 22
    assert any("1 control well set aside" in note for note in a.notes)
    rejected = pd.read_csv(broken.folder / "rejected.csv")
    assert list(rejected["value"]) == ["P0 C01"]
