"""Label tables in the layouts of graphium's collections, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from molphenix_jax.errors import InputError
from molphenix_jax.tasks.property_pretraining import label_columns
from molphenix_jax.tasks.property_pretraining.labels import (
    LabelsError,
    computed_labels,
    read_labels,
)

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "CCN"]
N_ATOMS = [3, 7, 4, 3]


def groups(labels):
    return {g.name: g for g in labels.groups}


def test_l1000_is_ordered_classes_with_gaps(tmp_path):
    """LINCS_L1000_VCAP_0-2_th2.csv.gz: SMILES and geneID-* in 0, 1, 2."""
    path = tmp_path / "LINCS_L1000_VCAP_0-2_th2.csv.gz"
    pd.DataFrame(
        {
            "SMILES": SMILES,
            "geneID-16": [0.0, 1.0, 2.0, np.nan],
            "geneID-23": [1, 0, 1, 2],
            "inchikey_guess": ["a", "b", "c", "d"],
        }
    ).to_csv(path, index=False)
    found = groups(read_labels([str(path)], columns="^geneID-"))
    assert list(found) == ["graph_hybrid_ce_3"]
    g = found["graph_hybrid_ce_3"]
    assert (g.loss, g.level, g.n_classes) == ("hybrid_ce", "graph", 3)
    assert g.columns == ("geneID-16", "geneID-23")
    np.testing.assert_array_equal(g.values[:, 0], [0, 1, 2, np.nan])


def test_pcba_is_binary_with_gaps(tmp_path):
    """PCBA_1328_1564k.parquet: SMILES and assayID-*."""
    path = tmp_path / "PCBA_1328_1564k.parquet"
    pd.DataFrame(
        {"SMILES": SMILES, "assayID-1": [0, 1, None, 1], "assayID-2": [None, None, 1.0, 0.0]}
    ).to_parquet(path)
    (g,) = read_labels([str(path)]).groups
    assert (g.name, g.columns) == ("graph_bce", ("assayID-1", "assayID-2"))
    assert np.isnan(g.values[2, 0])


def test_pcqm4m_has_labels_of_molecules_and_of_atoms(tmp_path):
    """PCQM4M_G25_N4.parquet: ordered_smiles, graph_* numbers, node_* lists by atom."""
    path = tmp_path / "PCQM4M_G25_N4.parquet"
    table = pd.DataFrame({"ordered_smiles": ["OCC", *SMILES[1:]]})
    table["graph_gap"] = [0.1, 0.2, 0.3, 0.4]
    for k in range(2):
        table[f"node_{k}"] = [np.arange(n) + 0.5 * k for n in N_ATOMS]
    table.loc[3, "node_0"] = None
    table.to_parquet(path)
    labels = read_labels([str(path)], columns="^(graph|node)_")
    found = groups(labels)
    assert set(found) == {"graph_mae", "node_mae"}
    assert labels.molecules["smiles"].iloc[0] == "OCC"  # as given: atoms come in that order
    values = found["node_mae"].values
    assert [v.shape for v in values] == [(n, 2) for n in N_ATOMS]
    np.testing.assert_array_equal(values[1][:, 1], np.arange(7) + 0.5)
    assert np.isnan(values[3][:, 0]).all()
    assert np.isfinite(values[3][:, 1]).all()


def test_toymix_tables_stack_each_with_labels_of_its_own(tmp_path):
    """ZINC12k.csv.gz and Tox21-7k-12-labels.csv.gz side by side."""
    zinc, tox = tmp_path / "ZINC12k.csv.gz", tmp_path / "Tox21-7k-12-labels.csv.gz"
    pd.DataFrame({"smiles": SMILES[:2], "SA": [2.1, 3.0], "logp": [0.2, 1.0]}).to_csv(
        zinc, index=False
    )
    pd.DataFrame({"smiles": SMILES[2:], "NR-AR": [0, 1], "SR-p53": [np.nan, 1.0]}).to_csv(
        tox, index=False
    )
    labels = read_labels([str(zinc), str(tox)])
    found = groups(labels)
    assert found["graph_mae"].columns == ("ZINC12k/SA", "ZINC12k/logp")
    assert found["graph_bce"].columns[0] == "Tox21-7k-12-labels/NR-AR"
    assert np.isfinite(found["graph_mae"].values[:2]).all()
    assert np.isnan(found["graph_mae"].values[2:]).all()
    np.testing.assert_array_equal(found["graph_bce"].values[2:, 0], [0, 1])


def test_rules_choose_losses_and_leave_columns_out(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"smiles": SMILES, "row": range(4), "x": [0, 1, 1, 0]}).to_csv(path, index=False)
    labels = read_labels([str(path)], losses=[("^row$", "none"), ("x", "mae")])
    (g,) = labels.groups
    assert (g.name, g.columns) == ("graph_mae", ("x",))


def test_bad_molecules_are_rejected_with_their_row(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"smiles": ["CCO", "C1CC", None, "CCN"], "x": [0.1, 0.2, 0.3, 0.4]}).to_csv(
        path, index=False
    )
    labels = read_labels([str(path)])
    assert labels.rejected["row"].tolist() == [2, 3]
    assert "not a valid SMILES" in labels.rejected["reason"].iloc[0]
    np.testing.assert_allclose(labels.groups[0].values[:, 0], [0.1, 0.4])


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            {"mol": SMILES, "x": [1.0] * 4},
            {},
            "no column of SMILES among mol, x.*data.smiles_column",
        ),
        ({"smiles": SMILES, "x": list("abcd")}, {}, "no label column"),
        ({"smiles": ["C(", "?"], "x": [1, 2]}, {}, "none of the 2 molecules"),
        ({"smiles": SMILES, "x": [0, 1, 2, 3]}, {"losses": [("x", "bce")]}, "not 0 and 1"),
        ({"smiles": SMILES, "x": [0.5] * 4}, {"losses": [("x", "hybrid_ce")]}, "needs classes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(tmp_path, table, options, message):
    path = tmp_path / "a.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    with pytest.raises(LabelsError, match=message):
        read_labels([str(path)], **options)
    with pytest.raises(LabelsError, match="there is no file"):
        read_labels([str(tmp_path / "b.csv")])


def test_standard_forms_are_kept_and_read_again(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"smiles": ["OCC", "C[", "CCN"], "x": [0.1, 0.2, 0.3]}).to_csv(path, index=False)
    first = read_labels([str(path)], cache=tmp_path / "cache")
    again = read_labels([str(path)], cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("standard-*.parquet"))) == 1
    pd.testing.assert_frame_equal(first.molecules, again.molecules)
    pd.testing.assert_frame_equal(first.rejected, again.rejected)
    assert first.molecules["smiles"].tolist() == ["CCO", "CCN"]


def test_bounds_words_and_strays_are_gaps_and_counted(tmp_path):
    """The case labels_censored: a column with '>' keeps its numbers."""
    path, n = tmp_path / "a.csv", 40
    numbers = [f"{0.25 * i}" for i in range(n)]
    frame = pd.DataFrame(
        {"SMILES": ["C" * (i + 1) for i in range(n)], "T1": numbers, "T2": numbers}
    )
    frame.loc[:7, "T1"] = [">0.13", "< 2", "~3", ">=4.5", "nd", "NA", "n/a", "see note"]
    frame.loc[8, "T1"] = "inf"
    frame.loc[9, "T2"] = ""
    frame.to_csv(path, index=False)
    labels = read_labels([str(path)])
    (g,) = labels.groups
    assert g.columns == ("T1", "T2")
    assert np.isnan(g.values[:9, 0]).all()
    np.testing.assert_allclose(g.values[9:, 0], 0.25 * np.arange(9, n))
    assert np.isnan(g.values[9, 1])
    assert labels.notes == (
        "a.csv: bounds (>, <, ~) are gaps: T1 (4)",
        "a.csv: words for a missing value are gaps: T1 (3: 'nd', 'NA', 'n/a')",
        "a.csv: what is no number is a gap: T1 (1: 'see note')",
        "a.csv: infinite values are gaps: T1 (1)",
    )


def test_columns_that_hold_no_labels_are_named_with_the_reason(tmp_path):
    """The case labels_index_and_id: y alone is learned."""
    path, n = tmp_path / "a.csv", 8
    frame = pd.DataFrame(
        {
            "mol_id": 1_000_000 + 7 * np.arange(n),
            "smiles": ["C" * (i + 1) for i in range(n)],
            "CID": np.arange(n)[::-1] * 13,
            "nth": np.arange(3, 3 + n),
            "dose_um": [1.0, 2.0] * 4,
            "series": list("abcdefgh"),
            "relation": ["=", ">"] * 4,
            "time_h": [24, 48] * 4,
            "flat": 3.5,
            "bounds": ">10",
            "blank": "",
            "CHEMBL203": [0, 1] * 4,
            "y": np.linspace(0, 1, n),
        }
    )
    frame.to_csv(path)
    labels = read_labels([str(path)])
    assert {g.columns for g in labels.groups} == {("CHEMBL203",), ("y",)}
    left = {note.partition("no labels, for ")[2] for note in labels.notes}
    assert left == {
        "they count rows: Unnamed: 0, nth",
        "they name or number samples: mol_id, CID",
        "they tell doses or their units: dose_um",
        "they hold text: series",
        "they tell when something was measured: time_h",
        "they hold relations (>, <, =), which are applied to no label: relation",
        "all their known values are the same: flat",
        "all they hold are bounds: bounds",
        "they have no value of a usable molecule: blank",
    }
    frame.set_index("smiles").to_parquet(tmp_path / "a.parquet")
    again = read_labels([str(tmp_path / "a.parquet")])
    assert {g.columns for g in again.groups} == {("CHEMBL203",), ("y",)}
    asked = read_labels([str(path)], columns="^(nth|flat)$")
    assert asked.groups[0].columns == ("nth", "flat")
    assert any("though they look like no labels: nth (they count rows)" in n for n in asked.notes)


@pytest.mark.parametrize(
    ("cells", "want", "note"),
    [
        (["true", "False", "", "TRUE"], [1, 0, np.nan, 1], "are 1 and 0: x"),
        (["active", "inactive", "NA", "Active"], [1, 0, np.nan, 1], "are 1 and 0: x"),
        (["yes", "no", "no", "0"], [1, 0, 0, 0], "are 1 and 0: x"),
        (["1,5", "2,25", "-3", "0,1"], [1.5, 2.25, -3, 0.1], "decimal commas: 1,5"),
        (["1,234.5", "2", "3.5", "4"], [1234.5, 2, 3.5, 4], "group thousands"),
        (["5%", "7 %", "10%", "20"], [5, 7, 10, 20], "x (3 of 4)"),
        (["-1", "-1", "3", "4"], [-1, -1, 3, 4], "-1 in 2 rows"),
        (["-999", "-999.0", "3", "4"], [-999, -999, 3, 4], "-999 in 2 rows"),
        (["9999", "9999", "3", "4"], [9999, 9999, 3, 4], "9999 in 2 rows"),
    ],
)
def test_cells_are_read_as_in_wells_tables_and_said(tmp_path, cells, want, note):
    path = tmp_path / "a.csv"
    pd.DataFrame({"smiles": SMILES, "x": cells}).to_csv(path, index=False, sep=";")
    labels = read_labels([str(path)])
    np.testing.assert_allclose(labels.groups[0].values[:, 0], want)
    assert any(note in sentence for sentence in labels.notes), labels.notes


def test_a_comma_that_may_be_either_stops_with_the_column(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"smiles": SMILES, "x": ["1,234", "2,345", "3", "4"]}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"column 'x': is the comma in '1,234' a decimal point"):
        read_labels([str(path)])
    with pytest.raises(LabelsError, match="no label column.*x: data.losses says none"):
        read_labels([str(path)], losses=(("^x$", "none"),))


def test_molecules_in_several_rows_are_counted_and_their_conflicts_named(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame(
        {"smiles": ["CCO", "OCC", "CCN", "NCC"], "x": [0, 1, 1, 1], "y": [0.5, 0.5, 1.5, np.nan]}
    ).to_csv(path, index=False)
    labels = read_labels([str(path)])
    assert len(labels.molecules) == 4
    (note,) = labels.notes
    assert note.startswith("a.csv: 2 molecules stand in several rows")
    assert note.endswith("labels of one differ in x (1)")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2"])
def test_compressed_tables_are_read(tmp_path, name):
    pd.DataFrame({"smiles": SMILES, "x": [0.1, 0.2, 0.3, 0.4]}).to_csv(tmp_path / name, index=False)
    np.testing.assert_allclose(
        read_labels([str(tmp_path / name)]).groups[0].values[:, 0], [0.1, 0.2, 0.3, 0.4]
    )


def test_properties_of_an_sdf_are_labels_and_a_damaged_record_is_its_own_row(tmp_path):
    path = tmp_path / "a.sdf"
    with Chem.SDWriter(str(path)) as out:
        for smiles, value in zip(SMILES, ["0.5", "1,5", "", "2.5"], strict=True):
            mol = Chem.MolFromSmiles(smiles)
            mol.SetProp("potency", value.replace(",", "."))
            mol.SetProp("_Name", "x")
            out.write(mol)
    text = path.read_text()
    path.write_text("cut\n$$$$\n" + text)
    labels = read_labels([str(path)])
    (group,) = labels.groups
    assert group.columns == ("potency",)
    np.testing.assert_allclose(group.values[:, 0], [0.5, 1.5, np.nan, 2.5])
    assert labels.molecules["row"].tolist() == [2, 3, 4, 5]
    (bad,) = labels.rejected.to_dict("records")
    assert (bad["row"], bad["field"]) == (1, "record")
    assert "as where a file is cut short" in bad["reason"]


def test_computed_labels_are_descriptors_and_bits():
    labels = computed_labels([*SMILES, "OCC", "bad"], blocks=("physchem", "maccs"))
    found = groups(labels)
    assert len(labels.molecules) == 4
    assert len(labels.rejected) == 1
    assert found["graph_bce"].values.shape[0] == 4
    assert "MolLogP" in found["graph_mae"].columns
    with pytest.raises(LabelsError, match=r"choose of morgan"):
        computed_labels(SMILES, blocks=("ecfp",))


@pytest.mark.parametrize("name", ["fold", "cv_fold", "Split", "scaffold_split", "fold_id", "kfold"])
def test_numbers_of_folds_are_no_labels(tmp_path, name):
    path = tmp_path / "labels.csv"
    frame = pd.DataFrame({"smiles": SMILES, "y": [0.5, 1.5, 2.5, 0.1], name: [0, 2, 1, 0]})
    frame.to_csv(path, index=False)
    labels = read_labels([str(path)])
    assert [group.columns for group in labels.groups] == [("y",)]
    assert any(name in note and "no labels" in note for note in labels.notes)
    asked = read_labels([str(path)], columns=f"^(y|{name})$")
    assert {column for group in asked.groups for column in group.columns} == {"y", name}


@pytest.mark.parametrize("name", ["fold_change", "splitting", "unfolding", "log2fold"])
def test_other_names_are_labels(tmp_path, name):
    path = tmp_path / "labels.csv"
    pd.DataFrame({"smiles": SMILES, name: [0.5, 2.5, 1, 0]}).to_csv(path, index=False)
    (group,) = read_labels([str(path)]).groups
    assert group.columns == (name,)


def test_a_quantity_in_a_molar_unit_may_be_a_label():
    values = np.array([1.0, 5.0, 2.0])
    for name in ("solubility_uM", "caco2_nM", "hit_score"):
        assert label_columns.why_no_label(name, values) is None
    for name in ("dose_uM", "uM", "fold", "lot"):
        assert label_columns.why_no_label(name, values)


@pytest.mark.parametrize(
    ("value", "relation", "more"),
    [
        ("standard_value", "standard_relation", {"pchembl": [5.0, 6.0, 7.0, 8.0]}),
        ("IC50_nM", "IC50_nM_qualifier", {"solubility": [1.0, 2.0, 3.0, 4.0]}),
        ("y", "relation", {}),
    ],
)
def test_a_column_of_relations_makes_gaps_of_bounds(tmp_path, value, relation, more):
    path = tmp_path / "a.csv"
    frame = {
        "smiles": SMILES,
        value: [1.5, 2.5, 3.5, 4.5],
        relation: ["=", "'>'", "", "<="],
        **more,
    }
    pd.DataFrame(frame).to_csv(path, index=False)
    labels = read_labels([str(path)])
    (group,) = labels.groups
    found = dict(zip(group.columns, group.values.T, strict=True))
    np.testing.assert_array_equal(found.pop(value), [1.5, np.nan, 3.5, np.nan])
    assert found.keys() == more.keys()
    assert all(np.isfinite(of).all() for of in found.values())
    assert f"a.csv: bounds (>, <, ~) are gaps: {value} (2 by {relation!r})" in labels.notes


def test_labels_of_several_units_stop_with_the_column(tmp_path):
    path, units = tmp_path / "a.csv", ["nM", "uM", "nM", ""]
    frame = pd.DataFrame({"smiles": SMILES, "value": [1.0, 2.0, 3.0, 4.0], "standard_units": units})
    frame.to_csv(path, index=False)
    with pytest.raises(
        InputError, match=r"'standard_units' tells several units \(nM in 2 rows, uM"
    ):
        read_labels([str(path)])
    assert read_labels([str(path)], losses=(("^standard_units$", "none"),)).groups
    frame.assign(standard_units="nM").to_csv(path, index=False)
    assert read_labels([str(path)]).groups[0].columns == ("value",)
