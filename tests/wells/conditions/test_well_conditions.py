"""Time, cell line and other columns part wells that are no replicates."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.wells.table import WellsError, read_wells
from tests import tiny

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "CCO", "c1ccccc1", "CCN")


def plate_map(n_plates=2, shift=0.0, seed=0, **columns):
    """Plates with 8 controls and 4 molecules at 2 doses, three wells each on every plate."""
    rng = np.random.default_rng(seed)
    per_plate = 8 + len(SMILES) * 2 * 3
    treated = [(s, c) for s in SMILES for c in (1.0, 10.0) for _ in range(3)]
    rows = [("CS(C)=O", 0.0)] * 8 + treated
    frame = pd.DataFrame(
        {
            "plate": np.repeat([f"P{i + 1}" for i in range(n_plates)], per_plate),
            "well": [f"{'ABCD'[i // 12]}{i % 12 + 1:02d}" for i in range(per_plate)] * n_plates,
            "smiles": [s for s, _ in rows] * n_plates,
            "concentration_um": [c for _, c in rows] * n_plates,
            "is_control": [c == 0 for _, c in rows] * n_plates,
            **columns,
        }
    )
    effect = np.random.default_rng(1).normal(size=(8, 6))
    kind = [SMILES.index(s) * 2 + (c > 1) if c else -1 for s, c in rows] * n_plates
    x = rng.normal(size=(len(frame), 6)) + shift
    x += np.where(np.array(kind)[:, None] >= 0, 4 * effect[kind], 0)
    for j in range(6):
        frame[f"Cells_Texture_F{j}"] = x[:, j]
    return frame


def two_lines():
    """The same plate map in two cell lines that look different, with the same plates and wells."""
    return pd.concat(
        [
            plate_map(cell_line="U2OS"),
            plate_map(cell_line="A549", shift=50.0, seed=2),
        ],
        ignore_index=True,
    )


def read(frame, tmp_path, **options):
    frame.to_csv(tmp_path / "wells.csv", index=False)
    return read_wells(tmp_path / "wells.csv", check_smiles=None, **options)


def screen_of(frame, tmp_path, **options):
    frame.to_csv(tmp_path / "wells.csv", index=False)
    config = tiny.prepare_config(**options)
    return prepare(tmp_path / "wells.csv", config, cache=tmp_path / "cache").in_memory()


def noted(wells, text):
    return any(text in note for note in wells.notes)


def test_the_same_plates_in_two_cell_lines_are_other_wells(tmp_path):
    wells = read(two_lines(), tmp_path)
    assert wells.rejected.empty
    assert len(wells.table) == 128
    assert wells.conditions.values == (("A549",), ("U2OS",))
    assert set(wells.table["group"]) == {"A549/P1", "A549/P2", "U2OS/P1", "U2OS/P2"}
    assert set(wells.table["plate"]) == {"P1", "P2"}
    assert noted(wells, "A549: 48 treated and 16 control wells; U2OS: 48 treated and 16 control")
    assert noted(wells, "each is corrected by its own controls")


def test_each_line_has_its_own_pairs_and_correction(tmp_path):
    screen = screen_of(two_lines(), tmp_path, correction="centerscale")
    assert screen.n_perturbations == 16
    assert screen.n_replicates.tolist() == [6] * 16
    keys = np.stack([screen.molecule, screen.concentration_um * 10, screen.condition])
    assert len(np.unique(keys, axis=1).T) == 16
    assert screen.conditions.labels == ("A549", "U2OS")
    # The lines lie 50 apart and after correction nowhere: the same effect, by its own controls.
    a, u = (screen.profiles(np.flatnonzero(screen.condition == c)) for c in (0, 1))
    assert abs(a.mean() - u.mean()) < 0.5
    # A line alone gives the same wells.
    alone = screen_of(plate_map(cell_line="U2OS"), tmp_path / "", correction="centerscale")
    np.testing.assert_allclose(alone.profiles(np.arange(8)), u, rtol=0.3, atol=0.5)


def test_none_switches_conditions_off_and_then_both_lines_are_one_well(tmp_path):
    wells = read(two_lines(), tmp_path, conditions="none")
    assert wells.rejected.empty
    assert len(wells.table) == 64
    assert any("128 rows were averaged to 64 wells" in note for note in wells.notes)
    assert wells.conditions.columns == ()


@pytest.mark.parametrize(
    ("name", "values", "labels"),
    [
        ("time_h", (24, 48), ("24 h", "48 h")),
        ("Metadata_Time", ("24h", "48 hours"), ("24 h", "48 h")),
        ("timepoint", ("1 day", "2 days"), ("24 h", "48 h")),
        ("exposure_time", (6.0, 24.0), ("6 h", "24 h")),
        ("time_days", (1, 2), ("24 h", "48 h")),
        ("timepoint", ("early", "late"), ("early h", "late h")),
        ("Metadata_cell_line", ("U2OS", "A549"), ("A549", "U2OS")),
        ("cell_type", ("HUVEC", "RPE"), ("HUVEC", "RPE")),
        ("cell_id", ("A375", "MCF7"), ("A375", "MCF7")),
        ("treatment_duration_min", (60, 240), ("1 h", "4 h")),
        ("duration_h", (24, 48), ("24 h", "48 h")),
        ("pert_itime", ("6 h", "24 h"), ("6 h", "24 h")),
    ],
)
def test_columns_are_found_by_the_names_people_use(tmp_path, name, values, labels):
    first, second = plate_map(), plate_map()
    first[name], second[name] = values
    second["plate"] += "b"
    wells = read(pd.concat([first, second]), tmp_path)
    assert wells.conditions.labels == labels
    assert wells.feature_names == tuple(f"Cells_Texture_F{j}" for j in range(6))
    # Plates that hold one condition keep their names.
    assert set(wells.table["group"]) == set(wells.table["plate"])


def test_any_column_that_is_named_parts_wells_and_is_no_feature(tmp_path):
    frame = pd.concat([plate_map(serum=10), plate_map(serum=1, seed=3)], ignore_index=True)
    frame = frame.rename(columns=lambda n: n.replace("Cells_Texture_F", "feat_"))
    wells = read(frame, tmp_path, conditions="serum")
    assert wells.conditions.columns == ("serum",)
    assert wells.conditions.labels == ("serum 1", "serum 10")
    assert wells.feature_names == tuple(f"feat_{j}" for j in range(6))
    with pytest.raises(WellsError, match="conditions: no column 'sera'.*nearest: serum"):
        read(frame, tmp_path, conditions="sera")


def test_two_columns_together(tmp_path):
    parts = [
        plate_map(cell_line=line, Metadata_Time=hours, seed=i)
        for i, (line, hours) in enumerate([("U2OS", 24), ("U2OS", 48), ("A549", 24)])
    ]
    wells = read(pd.concat(parts), tmp_path)
    assert wells.conditions.labels == ("24 h, A549", "24 h, U2OS", "48 h, U2OS")
    wells = read(pd.concat(parts[:2]), tmp_path, conditions="time_h,cell_line")
    assert wells.conditions.labels == ("24 h", "48 h")


def test_spellings_of_one_level(tmp_path):
    frame = pd.concat([plate_map(cell_line="U2OS"), plate_map(cell_line="U-2 os")])
    frame.iloc[64:, 0] += "b"
    assert read(frame, tmp_path).conditions.values == (("U2OS",),)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("Metadata_Time", [f"2021-03-0{i % 9 + 1} 12:30" for i in range(64)], "clock times"),
        ("time", np.arange(64) / 7, "64 different values"),
        ("cell_id", np.arange(64), "holds numbers"),
    ],
)
def test_what_only_looks_like_a_condition_is_said(tmp_path, name, values, reason):
    wells = read(plate_map(**{name: values}), tmp_path)
    assert wells.conditions.columns == ()
    assert noted(wells, reason)
    assert noted(wells, "name it with conditions=")
    assert wells.feature_names == tuple(f"Cells_Texture_F{j}" for j in range(6))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        *[("genotype", ("WT", "KO")), ("Metadata_donor_id", ("7", "12")), ("hpi", ("24", "48"))],
        *[("disease_condition", ("Mock", "Active SARS-CoV-2")), ("culture medium", ("M1", "M2"))],
        *[("Infection status", ("yes", "no")), ("cell_genotype", ("a", "b"))],
        *[("Stimulus", ("none", "TNFa")), ("pretreatment", ("", "IFNg")), ("clone", ("c1", "c2"))],
        *[("cells", ("HeLa", "U2OS")), ("cell_background", ("x", "y")), ("LPS", ("0", "1"))],
        *[("serum_percent", ("0", "10")), ("Day", ("1", "3")), ("DIV", ("7", "14"))],
        *[
            ("Metadata_stain", ("CP", "LCP")),
            ("objective", ("20x", "40x")),
            ("passage", ("5", "20")),
        ],
    ],
)
def test_a_column_that_often_tells_experiments_apart_is_named(tmp_path, name, levels):
    frame = plate_map(**{name: np.resize(levels, 64)})
    wells = read(frame, tmp_path)
    assert noted(wells, f"column {name!r} (")
    assert noted(wells, "count as replicates, or as parts of one well; name it with conditions=")
    told = read(frame, tmp_path, conditions=name)
    assert len(told.conditions) == 2
    assert not noted(told, "is not used")
    assert not noted(read(plate_map(**{name: levels[0]}), tmp_path), "is not used")


def test_gaps(tmp_path):
    frame = pd.concat([plate_map(time_h=24.0), plate_map(time_h=48.0, seed=5)], ignore_index=True)
    frame.loc[64:, "plate"] += "b"
    frame.loc[[3, 20], "time_h"] = np.nan  # a control and a treated well
    wells = read(frame, tmp_path)
    assert wells.rejected[["row", "field"]].values.tolist() == [[21, "time_h"]]
    assert noted(wells, "1 controls have no time_h: they take that of the treated wells")
    assert len(wells.table) == 127
    frame["plate"] = "P"
    frame["well"] = [f"w{i}" for i in range(128)]
    wells = read(frame, tmp_path)
    assert wells.rejected["row"].tolist() == [4, 21]
    assert "none or several" in wells.rejected["reason"][0]


def test_gaps_of_a_column_that_does_not_vary_are_no_matter(tmp_path):
    frame = plate_map(cell_line="U2OS")
    frame.loc[[3, 20], "cell_line"] = np.nan
    wells = read(frame, tmp_path)
    assert wells.rejected.empty
    assert noted(wells, "cell_line is missing in 2 wells: 'U2OS', its only value")


def test_a_condition_without_controls_is_said(tmp_path):
    frame = pd.concat([plate_map(time_h=24), plate_map(time_h=48, seed=5)], ignore_index=True)
    frame.loc[64:, "plate"] += "b"
    frame = frame[(frame["time_h"] == 24) | ~frame["is_control"]]
    assert noted(read(frame, tmp_path), "no control well is of 48 h")


def test_sites_of_a_well_are_averaged_within_a_condition(tmp_path):
    frame = two_lines()
    sites = pd.concat([frame.assign(site=1), frame.assign(site=2)], ignore_index=True)
    wells = read(sites, tmp_path)
    assert len(wells.table) == 128
    np.testing.assert_allclose(wells.embedding[:, 0], frame["Cells_Texture_F0"], rtol=1e-5)


def test_the_null_of_p_values_is_drawn_within_conditions(tmp_path):
    """All wells of B share a direction of its own, which is no sign of activity."""
    rng = np.random.default_rng(0)
    parts = []
    for line, common in (("A", 0.0), ("B", 30.0)):
        frame = plate_map(n_plates=1, cell_line=line, seed=int(common))
        treated = ~frame["is_control"]
        x = rng.normal(size=(len(frame), 6))
        x[treated, 0] += common
        frame[[f"Cells_Texture_F{j}" for j in range(6)]] = x
        parts.append(frame)
    screen = screen_of(pd.concat(parts), tmp_path, correction="centerscale", clip=0.0)
    own = screen.p_value[screen.condition == 1]
    assert np.median(own) > 0.2
