"""Doses as people write them, and what stops a run in place of a guess."""

import numpy as np
import pyarrow as pa
import pytest

from molphenix_jax.tables.columns import WellsError
from molphenix_jax.tables.dose_names import dose_name, parse_unit
from molphenix_jax.wells.doses.grid import one_grid
from molphenix_jax.wells.doses.reading import read_doses


def read(columns, **options):
    return read_doses("wells.csv", pa.table(columns), **options)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("concentration_um", "µM"),
        ("Metadata_conc_uM", "µM"),
        ("Image_Metadata_DoseUM", "µM"),
        ("CONC. [nM]", "nM"),
        ("dose (µM)", "µM"),
        ("Compound Concentration (microMolar)", "µM"),
        ("Final Concentration, mM", "mM"),
        ("concentration_nmol_per_l", "nM"),
        ("conc umol/L", "µM"),
        ("cmpdConc_nM", "nM"),
        ("dosenm", "nM"),
        ("conc_pM", "pM"),
        ("dose_M", "M"),
        ("uM", "µM"),
        ("compound_nM", "nM"),
        ("log10(M)", "log10(M)"),
        ("log10_conc_uM", "log10(µM)"),
        ("-log10(M)", "-log10(M)"),
        ("neg_log_conc_M", "-log10(M)"),
        ("Metadata_mmoles_per_liter", "µM"),
        ("treatment_conc", None),
        ("pert_dose", None),
        ("pert_idose", None),
        ("treatmentconcentration", None),
        ("Metadata_broad_sample_dose", None),
        ("Dosage", None),
        ("Konzentration_uM", "µM"),
        ("Dosis (nM)", "nM"),
    ],
)
def test_names_of_doses(name, unit):
    said = dose_name(name)
    assert said is not None
    assert said.kind == "dose"
    assert (said.unit.name if said.unit else None) == unit


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stock_conc_mM", "doubt"),
        ("dose_level", "doubt"),
        ("Metadata_dose_recode", "doubt"),
        ("DMSO_concentration", "doubt"),
        ("conc_mg_ml", "doubt"),
        ("dose (% v/v)", "doubt"),
        ("dose_time_h", "doubt"),
        ("M", "doubt"),
        ("amount", "doubt"),
        *((n, "doubt") for n in ("c_uM", "c (µM)", "agonist_nM", "stock_mM", "[uM] final c")),
        *((n, "doubt") for n in ("transfer_volume_nL", "vol_nl", "dispensed_vol")),
        *((n, None) for n in ("EC50 (uM)", "Ki_nM", "cc_um", "Cells_AreaShape_Volume", "volume")),
        ("pert_dose_unit", "unit"),
        ("ConcentrationUnit", "unit"),
        ("units", "unit"),
        *((n, None) for n in ("IC50_uM", "pixel_size_um", "wavelength_nm", "x_um", "cell_count")),
        *((n, None) for n in ("Cells_Texture_F0", "emb_0", "PC1", "p_value", "log10_count", "MW")),
        *((n, None) for n in ("Nuclei_Granularity_1_DNA", "compound", "treatment", "sample", "m")),
    ],
)
def test_names_of_what_is_no_dose(name, kind):
    said = dose_name(name)
    if name == "m":  # a metre or a molar: never a dose by itself
        assert said is None or said.kind == "doubt"
        return
    assert (said.kind if said else None) == kind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("nM", "nM"), ("UM", "µM"), ("μM", "µM"), ("µmol/L", "µM"), ("nmol L-1", "nM")),  # noqa: RUF001
        *(("micromolar", "µM"), ("mol/L", "M"), ("log10_M", "log10(M)"), ("log10 µM", "log10(µM)")),
        *(("mg/ml", None), ("%", None), ("m", None), ("fold", None), ("-666", None), ("", None)),
    ],
)
def test_units(text, name):
    unit = parse_unit(text)
    assert (unit.name if unit else None) == name


@pytest.mark.parametrize(
    ("columns", "want", "unit"),
    [
        ({"conc_uM": [0.5, 2.0]}, [0.5, 2.0], "µM"),
        ({"conc_nM": [250.0, 370.0]}, [0.25, 0.37], "nM"),
        ({"conc_mM": [0.01, 0.1]}, [10, 100], "mM"),
        ({"conc_pM": [1e6]}, [1.0], "pM"),
        ({"log10(M)": [-6.0, -5.0]}, [1, 10], "log10(M)"),
        ({"log_conc": [-6.0, -5.5]}, [1, 3.16227766], "log10(M)"),
        ({"pConc": [6.0, 5.0]}, [1, 10], "-log10(M)"),
        ({"log10_uM": [-1.0, 0.0]}, [0.1, 1], "log10(µM)"),
        ({"dose": ["500 nM", "10uM", "1e-6 M", "0.5 µmol/L"]}, [0.5, 10, 1, 0.5], "nM, µM, M"),
        ({"pert_idose": ["10 um", "3.33 um"]}, [10, 3.33], "µM"),
        ({"conc_uM": ["0,5", "3,33", "1,5E-1"]}, [0.5, 3.33, 0.15], "µM"),
        ({"conc_nM": ["1,000.5", "20,000"]}, [1.0005, 20], "nM"),
        ({"conc": [500.0, 5.0], "conc_unit": ["nM", "uM"]}, [0.5, 5], "nM, µM"),
        ({"dose": ["5", "5"], "units": ["µmol/l", "mM"]}, [5, 5000], "µM, mM"),
        ({"pert_dose": [10.0, -666], "pert_dose_unit": ["um", "-666"]}, [10, np.nan], "µM"),
        # A number, beside it the same as text; two columns of two files.
        ({"pert_dose": [10.0, 1], "pert_idose": ["10 uM", "1 uM"]}, [10, 1], "µM"),
        ({"conc_uM": [1.0, None], "conc_nM": [1000.0, 500]}, [1, 0.5], "nM"),
        ({"dose": [500.0, 1000], "conc_uM": [0.5, 1]}, [0.5, 1], "µM"),
        ({"conc_uM": [0.5, 1], "dose_level": [1, 2], "stock_conc_mM": [10, 10]}, [0.5, 1], "µM"),
    ],
)
def test_doses_end_up_in_micromolar(columns, want, unit):
    doses = read(columns)
    np.testing.assert_allclose(doses.um, want, rtol=1e-7)
    assert doses.unit == unit
    assert set(doses.reason) == {""}
    assert doses.record()["unit"] == unit
    assert doses.how


def test_an_assumed_unit_is_said_and_can_be_given():
    doses = read({"treatment_conc": [10.0, 100.0]})
    assert doses.um.tolist() == [10, 100]
    assert "taken as µM: no unit is named, --concentration-unit" in doses.notes[0]
    assert "assumed" in doses.how
    assert read({"treatment_conc": [10.0, 100.0]}, unit="nM").um.tolist() == [0.01, 0.1]
    other = read({"conc_uM": [10.0]}, unit="nM")
    assert other.um.tolist() == [0.01]
    assert any("goes before the µM" in note for note in other.notes)
    assert read({"conc": ["5 mM"]}, unit="nM").um.tolist() == [5000], "the cell's own unit stays"


def test_an_implausible_range_is_said():
    doses = read({"conc_uM": [10.0, 100.0, 5000.0]})
    assert any("10 to 5000 µM are implausible" in note for note in doses.notes)
    assert not any("implausible" in note for note in read({"conc_uM": [10.0, 500.0]}).notes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"dose_level": [1, 2, 3]}, r"'dose_level' \(1, 2, 3\) looks like a dose, .*columns=conc"),
        ({"stock_conc": [10.0]}, "looks like a dose, but its name says 'stock conc'"),
        ({"conc_mg_ml": [0.5]}, r"conc_mg_ml.*molar mass of each compound.*add a column of µM"),
        ({"dose (%)": [0.5]}, "molar mass"),
        ({"amount": ["5", "7"]}, r"'amount' \(5, 7\) looks like a dose"),
        ({"M": [1e-6]}, "looks like a dose"),
        ({"conc": [5000.0, 20000.0]}, r"'conc' \(5000, 20000\) names no unit.*implausible as µM"),
        ({"conc": [1e-6, 1e-5]}, "implausible as µM"),
        ({"conc": [-6.0, -5.0]}, "negative numbers alone: a logarithm"),
        ({"log_dose": [-1.0, 1.5]}, "is a logarithm of an unknown unit"),
        ({"conc_uM": [1.0, 2.0], "conc_nM": [1000.0, 20.0]}, "different doses in 1 rows .row 2: 2"),
        ({"dose": [1.0, 2.0], "conc": [1.0, 3.0]}, "different doses"),
        ({"conc_uM": [1.0], "conc_unit": ["nM"]}, "says µM, column 'conc_unit' says 'nM' in row 1"),
        ({"conc_uM": ["1,000", "10,000"]}, "decimal point or does it group thousands"),
    ],
)
def test_what_could_be_misread_stops(columns, message):
    with pytest.raises(WellsError, match=message) as caught:
        read(columns)
    assert "wells.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["concentration_um", "dose", "Metadata_conc", "dose_level"])
@pytest.mark.parametrize(
    "cells",
    [
        ["low", "high"],
        [True, False],
        ["yes", "no"],
        ["D1", "D2"],
        [">10", "<1"],
        ["uM", "nM"],
        ["low", "1", "high"],
        ["DMSO", "low", "top"],
    ],
)
def test_a_dose_without_numbers_is_never_the_default(name, cells):
    """Wells and joined tables: read_doses sees all their columns."""
    with pytest.raises(WellsError, match=rf"{name}' looks like a dose and holds no numbers \('"):
        read({name: cells})
    # Beside a column of numbers it is no dose.
    doses = read({name: cells, "final_conc_uM": [2.5] * len(cells)})
    assert (doses.um == 2.5).all()
    assert f"no dose and no feature: '{name}'" in doses.notes
    assert read({name: cells}, column="none").notes[0].startswith("no concentration column")


@pytest.mark.parametrize("cells", [[None, None], ["", "n/a"], ["DMSO", "-"]])
def test_an_empty_column_of_doses_is_never_the_default(cells):
    with pytest.raises(WellsError, match=r"'dose' looks like a dose and (is empty|holds no)"):
        read({"dose": pa.array(cells, pa.string())})


def test_words_for_controls_are_no_doses_and_hide_none():
    doses = read({"dose": ["DMSO", "DMSO", "untreated", "1", "2.5"]})
    assert doses.um[3:].tolist() == [1, 2.5]


def test_a_word_that_says_nothing_of_doses_is_no_dose():
    for columns in ({"amount": ["a", "b"]}, {"M": ["f", "m"]}, {"dose_note": ["same", "same"]}):
        assert read(columns).column == ""


def test_the_user_says_which_column_and_which_unit():
    table = {"dose_level": [1, 2], "conc_uM": [3.0, 4.0], "conc_nM": [1.0, 2.0]}
    assert read(table, column="conc_uM").um.tolist() == [3, 4]
    assert read(table, column="dose_level", unit="mM").um.tolist() == [1000, 2000]
    none = read(table, column="none")
    assert none.column == ""
    assert none.notes == ("no concentration column: treated wells are at 10.0 µM",)
    with pytest.raises(WellsError, match=r"concentration_unit='mg/ml' needs the molar mass"):
        read(table, unit="mg/ml")
    with pytest.raises(WellsError, match=r"concentration_unit='furlong' is no unit; units are µM"):
        read(table, unit="furlong")


@pytest.mark.parametrize(
    ("columns", "reasons"),
    [
        ({"conc": ["ten", "1"]}, ["concentration is not a number", ""]),
        ({"conc": ["5 mg/ml", "1"]}, ["'mg/ml' needs the molar mass: give the dose in µM", ""]),
        ({"conc": [1.0, 1.0], "unit": ["uM", None]}, ["", "no unit in column 'unit'"]),
        ({"conc": [1.0, 0.0], "unit": ["uM", None]}, ["", ""]),  # a control's 0 needs none
        (
            {"conc": [1.0, 1.0], "unit": ["%", "uM"]},
            ["unit '%' needs the molar mass: give the dose in µM", ""],
        ),
    ],
)
def test_a_row_that_cannot_be_read_has_its_reason(columns, reasons):
    doses = read(columns)
    assert doses.reason.tolist() == reasons
    assert (np.isnan(doses.um) == (doses.reason != "")).all()


def test_doses_within_one_percent_are_one():
    um = np.array([3.33] * 5 + [3.34] * 2 + [3.3, 3.0, 10.0, 10.01, 10.0])
    one, notes = one_grid(um, np.arange(len(um)))
    assert one.tolist() == [3.33] * 7 + [3.33, 3.0, 10.0, 10.0, 10.0]
    assert "4 wells at 3 doses" in notes[0]
    assert "3.34 → 3.33 (2 wells)" in notes[0]
    assert one_grid(np.array([3.0, 3.3, 0.1, 0.1000001]), np.arange(4))[1] == ()


def test_measured_concentrations_are_no_grid():
    """Each compound with a dose of its own: only replicates of a compound are brought together."""
    um = np.geomspace(1, 10, 1000)
    one, notes = one_grid(um, np.arange(1000))
    assert one.tolist() == um.tolist()
    assert notes == ()
    molecule = np.r_[np.arange(1000), 0, 0, 1]
    one, notes = one_grid(np.r_[um, 1.001, 1.001, 5.0], molecule)
    assert one[[0, 1000, 1001, 1002]].tolist() == [1.001, 1.001, 1.001, 5.0]
    assert "1 wells at 1 doses" in notes[0]


@pytest.mark.parametrize("text", ["aspirin_{}uM", "aspirin {} µM", "CPD-1 ({}nM)", "{} mM X"])
def test_doses_in_names_alone_stop(text):
    columns = {"treatment": ["DMSO", *(text.format(dose) for dose in ("1", "0.5", "10"))]}
    with pytest.raises(WellsError, match=r"'treatment' has doses in its text \('.*\), and no colu"):
        read(columns)
    assert read({**columns, "dose_uM": [0.0, 1.0, 0.5, 10.0]}).um[1:].tolist() == [1.0, 0.5, 10.0]
    assert not read(columns, column="none").column


@pytest.mark.parametrize("name", ["GSK2606414", "5-FU", "AMG900", "uM", "MMX 10 uMab"])
def test_names_with_numbers_are_no_doses(name):
    assert not read({"treatment": ["DMSO", name, name + "x"]}).column


def test_volumes_that_do_not_vary_tell_no_dose():
    assert not read({"transfer_volume_nL": [25.0] * 3}).column
    with pytest.raises(WellsError, match="a volume is no dose without its stock"):
        read({"transfer_volume_nL": [0.0, 25.0, 250.0]})


def test_a_zero_needs_no_unit():
    doses = read({"dose": ["0", "1 uM", "500nM"]})
    assert doses.um.tolist() == [0.0, 1.0, 0.5]
    assert doses.how == "the cells"
    assert not any("no unit" in note for note in doses.notes)
    by_row = read({"dose": [0.0, 1.0, 2.0], "dose_unit": ["", "uM", "relative"]})
    assert by_row.how == "column 'dose_unit', row by row"
    assert by_row.reason[2].startswith("'relative' in column 'dose_unit' is no unit")


@pytest.mark.parametrize("lost", ["?M", "\ufffdM", "\ufffd M", "\u00b1M"])
def test_a_unit_that_lost_its_letter_is_not_molar(lost):
    assert parse_unit(lost) is None
    assert dose_name(f"conc ({lost})").kind == "doubt"
    with pytest.raises(WellsError, match="a letter before its M is lost"):
        read({f"conc ({lost})": [1.0, 10.0]})
    doses = read({"dose": [1.0, 10.0], "dose_unit": [lost, lost]})
    assert np.isnan(doses.um).all()
    assert all("is no unit" in reason for reason in doses.reason)
    doses = read({"dose": [f"1 {lost}", "10 µM"]})
    assert doses.reason[0] == f"unit {lost!r} has lost the letter before its M"
    assert doses.um[1] == 10
    given = read({f"conc ({lost})": [1.0]}, column=f"conc ({lost})", unit="µM")
    assert given.um.tolist() == [1.0]


@pytest.mark.parametrize("micro", ["Âµ", "Î¼", "µ", "μ"])  # noqa: RUF001
def test_a_micro_sign_may_be_of_another_encoding(micro):
    assert parse_unit(f"{micro}M") == parse_unit("uM")
    assert read({f"conc ({micro}M)": [1.0]}).um.tolist() == [1.0]


@pytest.mark.parametrize("column", ["conc_nM", "conc"])
def test_a_point_beside_decimal_commas_is_not_guessed(column):
    unit = " nM" if column == "conc" else ""
    cells = {column: [f"1.000{unit}", f"10.000{unit}", f"500{unit}"]}
    assert read(cells).um.tolist() == [0.001, 0.01, 0.5]
    with pytest.raises(WellsError, match=r"is the point in '1.000' a decimal point or does it"):
        read(cells, decimal_commas=True)
    with pytest.raises(WellsError, match=r"is the point in '1.000' a decimal point or does it"):
        read({column: [f"1.000{unit}", f"0,5{unit}"]})
    assert read({column: [f"1,5{unit}"]}, decimal_commas=True).um.tolist() == [0.0015]
