"""What is a negative control, what is a positive one, and which wells a table leaves out itself."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.wells.controls.words import kind_of, solvents_among, truth_of
from molphenix_jax.wells.table import WellsError, read_wells

DRUGS = ("CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "OC(=O)c1ccccc1O", "CCN")
N_CONTROLS, N_TREATED = 12, 36  # on each of two plates


def plates(**columns):
    """Two plates without a word on controls: 12 wells of DMSO and 36 of four molecules each."""
    rng = np.random.default_rng(0)
    n = N_CONTROLS + N_TREATED
    dose = [0.0] * N_CONTROLS + [1.0, 5.0, 10.0] * (N_TREATED // 3)
    frame = pd.DataFrame(
        {
            "plate": np.repeat(["P1", "P2"], n),
            "well": [f"{'ABCD'[i // 12]}{i % 12 + 1:02d}" for i in range(n)] * 2,
            "smiles": (["CS(C)=O"] * N_CONTROLS + [DRUGS[i % 4] for i in range(N_TREATED)]) * 2,
            "concentration_um": dose * 2,
        }
    ).assign(**columns)
    for j in range(4):
        frame[f"Cells_Texture_F{j}"] = rng.normal(size=2 * n)
    return frame


CONTROL = np.tile([True] * N_CONTROLS + [False] * N_TREATED, 2)


def read(frame, tmp_path, **options):
    frame.to_csv(tmp_path / "wells.csv", index=False)
    return read_wells(tmp_path / "wells.csv", check_smiles=None, **options)


def counts(wells):
    n = int(wells.table["is_control"].sum())
    return n, len(wells.table) - n, len(wells.rejected)


def noted(wells, text):
    return any(text in note for note in wells.notes)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("DMSO", "dmso"), ("dmso 0.5%", "dmso"), ("0.1 % DMSO", "dmso"), ("Vehicle", "vehicle")),
        *(("solvent", "vehicle"), ("Mock", "untreated"), ("no treatment", "untreated")),
        *(("untreated", "untreated"), ("EMPTY_control", "empty"), ("empty", "empty")),
        *(("negcon", "control"), ("Negative control 2", "control"), ("control", "control")),
        *(("poscon", "positive"), ("poscon_cp", "positive"), ("poscon_diverse", "positive")),
        *(("poscon_orf", "positive"), ("Positive Control", "positive"), ("trt_cp", "treated")),
        *(("trt", "treated"), ("aspirin", ""), ("", ""), ("dmsol", "")),
    ],
)
def test_words(text, kind):
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        *(("TRUE", True), ("true ", True), ("1", True), ("1.0", True), ("Yes", True), ("T", True)),
        *(("False", False), ("0", False), ("0.0", False), ("N", False), ("", False), ("no", False)),
        *(("perhaps", None), ("2", None)),
    ],
)
def test_booleans(text, truth):
    assert truth_of(text) is truth


def test_dmso_is_known_by_its_inchikey():
    spelled = ["CS(C)=O", "CS(=O)C", "C[S+](C)[O-]", "[O-][S+](C)C", "CS(C)=O.O", "C[S](C)=O"]
    deuterated = "[2H]C([2H])([2H])S(=O)C([2H])([2H])[2H]"
    found = solvents_among([*spelled, deuterated, "CCO", "CSC", "CS(C)(=O)=O", "nonsense", ""])
    assert found == {**dict.fromkeys([*spelled, deuterated], "dmso"), "CCO": "ethanol"}


def test_poscon_is_no_control_though_pert_type_says_control(tmp_path):
    """JUMP-Target issue 22: pert_type is `control` for both, control_type tells them apart."""
    frame = plates(Metadata_pert_type="trt", Metadata_control_type="")
    frame.loc[CONTROL, ["Metadata_pert_type", "Metadata_control_type"]] = ["control", "DMSO"]
    poscon = ~CONTROL & (frame["smiles"] == DRUGS[0])
    frame.loc[poscon, ["Metadata_pert_type", "Metadata_control_type"]] = ["control", "poscon_cp"]
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert wells.table.loc[~wells.table["is_control"], "smiles"].nunique() == 4
    assert noted(wells, "18 wells are positive controls")
    assert noted(wells, "'Metadata_control_type' is 'poscon_cp' (18 wells)")
    assert noted(wells, "24 control wells: 12 on 2 of 2 plates")
    # The same without the finer column: a molecule at a dose is no negative control.
    wells = read(frame.drop(columns="Metadata_control_type"), tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, "'Metadata_pert_type' is 'control' (18 wells), but a molecule at a dose")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "control", "treated"),
    [
        ("is_control", "TRUE", "FALSE"),
        ("Metadata_is_control", "1.0", "0.0"),
        ("IsControl", "Y", "N"),
        ("is_negcon", "yes", ""),
        ("Metadata_pert_type", "negcon", "trt"),
        ("control_type", "negcon", ""),
        ("Metadata_well_type", "Negative Control", "sample"),
        ("compound_name", "dmso", "x"),
        ("treatment", "EMPTY_control", "y"),
        ("Compound", "Vehicle", "z"),
        ("pert_iname", "DMSO 0.1%", "z"),
        ("drug", "mock", "z"),
        ("treatment", "untreated", "z"),
        ("Metadata_broad_sample", "DMSO", "BRD-K1"),
    ],
)
def test_columns_that_tell_controls(tmp_path, name, control, treated):
    frame = plates(**{name: np.where(CONTROL, control, treated)})
    frame.loc[CONTROL, "smiles"] = ""
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, f"{name!r} is {control.removesuffix('.0')!r} (24 wells)")


@pytest.mark.parametrize("smiles", ["CS(C)=O", "CS(=O)C", "C[S+](C)[O-]"])
def test_controls_by_structure(tmp_path, smiles):
    frame = plates()
    frame.loc[CONTROL, ["smiles", "concentration_um"]] = [smiles, 10.0]
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, "no control column, so the structure of DMSO (24 wells)")


def test_several_kinds_are_not_pooled(tmp_path):
    frame = plates(treatment="drug x")
    frame.loc[CONTROL, "treatment"] = (
        ["DMSO"] * 5 + ["untreated"] * 6 + ["empty"] + ["DMSO"] * 5 + ["untreated"] * 6 + ["empty"]
    )
    frame.loc[CONTROL, "smiles"] = ""
    wells = read(frame, tmp_path)
    assert counts(wells) == (10, 72, 0)
    assert noted(wells, "12 untreated, 2 empty wells are other kinds of negative control")
    assert noted(wells, "--controls=dmso,empty,untreated takes all")
    assert counts(read(frame, tmp_path, controls="untreated")) == (12, 72, 0)
    assert counts(read(frame, tmp_path, controls="dmso,untreated")) == (22, 72, 0)
    assert counts(read(frame, tmp_path, controls="treatment=EMPTY+dmso"))[0] == 12
    with pytest.raises(WellsError, match=r"no well is a control of kind 'vehicle'; found are unt"):
        read(frame, tmp_path, controls="vehicle")
    with pytest.raises(WellsError, match="'treatment' is 'pbs' nowhere; it holds 'DMSO'"):
        read(frame, tmp_path, controls="treatment=pbs")
    with pytest.raises(WellsError, match="no column 'treatmnt'.*nearest: treatment"):
        read(frame, tmp_path, controls="treatmnt=pbs")


def test_a_few_wells_of_dmso_do_not_stand_for_the_commonest_kind(tmp_path):
    frame = plates(treatment="drug x")
    frame.loc[CONTROL, "treatment"] = ["DMSO"] + ["untreated"] * 23
    assert counts(read(frame, tmp_path)) == (23, 72, 0)


def test_controls_of_no_stated_kind_go_with_the_others(tmp_path):
    frame = plates(is_control=CONTROL, compound_name="x")
    frame.loc[CONTROL, "compound_name"] = ["DMSO"] * 20 + [""] * 4
    frame.loc[CONTROL, "smiles"] = ""
    assert counts(read(frame, tmp_path)) == (24, 72, 0)


def test_a_dmso_well_that_is_said_to_be_none_is_rejected(tmp_path):
    frame = plates(is_control=CONTROL)
    frame.loc[2, ["is_control", "concentration_um"]] = [False, 1.0]
    wells = read(frame, tmp_path)
    assert counts(wells) == (23, 72, 1)
    assert "holds DMSO, but is_control says" in wells.rejected["reason"][0]


def test_a_column_without_a_control_does_not_hide_those_that_are_there(tmp_path):
    wells = read(plates(is_control=False), tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, "'is_control' is true for no well")


def test_a_drug_among_the_controls_of_a_plain_column_is_a_positive_control(tmp_path):
    frame = plates(is_control=CONTROL)
    drug = ~CONTROL & (frame["smiles"] == DRUGS[1])
    frame.loc[drug, "is_control"] = True
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, "18 wells are positive controls")
    # Nothing else could be meant where it says "negative".
    wells = read(frame.rename(columns={"is_control": "is_negcon"}), tmp_path)
    assert counts(wells) == (42, 54, 0)


def test_plates_without_controls_are_named(tmp_path):
    frame = plates()
    frame = frame[(frame["plate"] == "P1") | ~CONTROL]
    assert noted(read(frame, tmp_path), "12 control wells: 12 on 1 of 2 plates, none on P2")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("qc_pass", "True", "False"),
        ("Metadata_QC_Pass", "1", "0"),
        ("exclude", "", "x"),
        ("Metadata_Excluded", "False", "True"),
        ("is_outlier", "0", "1"),
        ("flag", "0", "1"),
        ("qc", "pass", "FAIL"),
        ("QC_status", "ok", "bad"),
        ("keep", "yes", "no"),
    ],
)
def test_wells_that_the_table_marks_are_left_out(tmp_path, name, good, bad):
    frame = plates(**{name: good})
    frame.loc[[3, 20, 60], name] = bad
    wells = read(frame, tmp_path)
    assert wells.rejected["row"].tolist() == [4, 21, 61]
    assert set(wells.rejected["field"]) == {name}
    assert noted(wells, f"quality: column {name!r} leaves out 3 wells")


@pytest.mark.parametrize(
    ("name", "value"), [("qc", "True"), ("flag", "edge"), ("exclude", "bubble?"), ("quality", "3")]
)
def test_what_may_mean_anything_is_named_and_not_followed(tmp_path, name, value):
    frame = plates(**{name: ""})
    frame.loc[[3, 20, 60], name] = value
    wells = read(frame, tmp_path)
    assert wells.rejected.empty
    assert noted(wells, f"quality: column {name!r} is not followed")
    assert wells.feature_names == tuple(f"Cells_Texture_F{j}" for j in range(4))


def test_a_flag_on_most_wells_is_none(tmp_path):
    wells = read(plates(flag=True), tmp_path)
    assert wells.rejected.empty
    assert noted(wells, "'flag' marks 100% of the wells and is not followed")


@pytest.mark.parametrize("smiles", ["DMSO", "dmso (0.1%)", "-", "n/a", "None", "untreated"])
def test_words_where_a_structure_belongs(tmp_path, smiles):
    frame = plates()
    frame.loc[CONTROL, "smiles"] = smiles
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)


def test_a_word_for_nothing_in_a_column_of_controls_is_false(tmp_path):
    frame = plates(control=np.where(CONTROL, "neg", "none"))
    frame.loc[~CONTROL & (frame["smiles"] == DRUGS[0]), "control"] = "pos"
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 72, 0)
    assert noted(wells, "18 wells are positive controls")


@pytest.mark.parametrize("word", ["DMSO", "empty", "untreated", "water"])
def test_a_well_called_dmso_that_holds_a_drug_at_a_dose_is_rejected(tmp_path, word):
    frame = plates(treatment="drug x")
    frame.loc[CONTROL, "treatment"] = word
    odd = np.flatnonzero(~CONTROL)[:2]
    frame.loc[odd, "treatment"] = word
    wells = read(frame, tmp_path)
    assert counts(wells) == (24, 70, 2)
    assert wells.rejected["row"].tolist() == (odd + 1).tolist()
    reason = f"'treatment' is {word!r}, and the well has a molecule at a dose"
    assert set(wells.rejected["reason"]) == {reason}


def test_a_known_inactive_compound_may_be_the_negative_control(tmp_path):
    frame = plates(control_type="")
    frame.loc[CONTROL, ["smiles", "concentration_um"]] = ["CCCCCCCC", 10.0]
    frame.loc[CONTROL, "control_type"] = "negcon"
    assert counts(read(frame, tmp_path)) == (24, 72, 0)
