"""Two cell lines of very different morphology in one screen: neither measures the other."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import read_wells
from tests import tiny

LINES = ("U2OS", "HepG2")
WIDTH, PLATES, COMPOUNDS, CONTROLS = 40, 4, 24, 12


def screen(*, apart: float, controls_of_second: int = CONTROLS, seed: int = 0) -> pd.DataFrame:
    """24 compounds with an effect in each line; the second line has its own place and units."""
    rng, frames = np.random.default_rng(seed), []
    for line in LINES:
        second = line == LINES[1]
        mix = np.eye(WIDTH) + 0.8 * rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
        unit = np.exp(0.8 * rng.normal(size=WIDTH)) if second else np.ones(WIDTH)
        place = apart * rng.normal(size=WIDTH) * second
        effect = 1.2 * rng.normal(size=(COMPOUNDS, WIDTH))
        n_controls = controls_of_second if second else CONTROLS
        for plate in range(PLATES):
            x = rng.normal(size=(COMPOUNDS + n_controls, WIDTH)) @ mix
            x += 0.5 * rng.normal(size=WIDTH)  # of the plate
            x[:COMPOUNDS] += effect
            frame = pd.DataFrame(
                x * unit + place, columns=[f"Cells_Texture_F{j}" for j in range(WIDTH)]
            )
            frame["smiles"] = ["C" * (i + 1) + "O" for i in range(COMPOUNDS)] + [""] * n_controls
            frame["concentration_um"] = [1.0] * COMPOUNDS + [0.0] * n_controls
            frame["is_control"] = frame["smiles"] == ""
            frame["well"] = [f"{'ABC'[i // 12]}{i % 12 + 1:02d}" for i in range(len(frame))]
            frames.append(frame.assign(plate=f"P{plate}", cell_line=line))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pca_cs", "tvn", "centerscale"])
@pytest.mark.parametrize("apart", [30.0, 300.0])
def test_as_many_are_active_as_in_each_line_alone(method, apart, tmp_path):
    """With one centre and one PCA over both, 7 and 11 of 24 were (pca_cs, 300 SDs apart)."""
    screen(apart=apart).to_parquet(tmp_path / "w.parquet")
    config = tiny.prepare_config(correction=method, n_null=1000)
    store = prepare(Sources((tmp_path / "w.parquet",)), config, cache=tmp_path)
    assert store.conditions.labels == ("HepG2", "U2OS")
    for condition in range(2):
        of_line = store.condition == condition
        assert of_line.sum() == COMPOUNDS
        assert (store.p_value[of_line] <= 0.05).sum() >= 23


@pytest.mark.slow
@pytest.mark.parametrize("apart", [300.0, 1e6])
@pytest.mark.parametrize("controls", [1, 2, CONTROLS])
@pytest.mark.parametrize("group_by", ["plate", "batch"])
def test_no_line_is_set_aside_as_outlying(apart, controls, group_by, tmp_path):
    frame = screen(apart=apart, controls_of_second=controls)
    frame.to_parquet(tmp_path / "w.parquet")
    wells = read_wells(tmp_path / "w.parquet", check_smiles=None, group_by=group_by)
    assert wells.rejected.empty
    assert len(wells.table) == len(frame)
    assert len(wells.feature_names) == WIDTH


@pytest.mark.parametrize("line", LINES)
def test_a_broken_control_is_still_found_in_its_line(line, tmp_path):
    frame = screen(apart=300.0)
    row = int(np.flatnonzero(frame["is_control"] & (frame["cell_line"] == line))[3])
    # Where the controls of the other line lie.
    other = frame[frame["is_control"] & (frame["cell_line"] != line)].iloc[0]
    names = [name for name in frame if name.startswith("Cells_")]
    frame.loc[row, names] = other[names]
    frame.to_parquet(tmp_path / "w.parquet")
    wells = read_wells(tmp_path / "w.parquet", check_smiles=None)
    assert wells.rejected["row"].tolist() == [row + 1]


def test_what_explodes_in_one_line_is_dropped_for_both(tmp_path):
    frame = screen(apart=3.0)
    rows = np.flatnonzero(~frame["is_control"] & (frame["cell_line"] == LINES[1]))[:20]
    frame.loc[rows, "Cells_Texture_F7"] = 1e7
    frame.to_parquet(tmp_path / "w.parquet")
    wells = read_wells(tmp_path / "w.parquet", check_smiles=None)
    assert "Cells_Texture_F7" not in wells.feature_names
    assert len(wells.feature_names) == WIDTH - 1
    assert wells.rejected.empty
