"""Wells that need no molecule: names in its place, doses that nobody knows, genes."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.wells.table import WellsError, read_wells

FEATURES = tuple(f"Cells_AreaShape_F{j}" for j in range(4))


def frame(names, *, plates=("P1",), n_controls=8, seed=0, **columns) -> pd.DataFrame:
    """DMSO wells and a well for each name on each plate."""
    rng, rows = np.random.default_rng(seed), []
    for plate in plates:
        for i, name in enumerate(["DMSO"] * n_controls + list(names)):
            rows.append({"plate": plate, "well": f"A{i + 1:02}", "gene": name})
    table = pd.DataFrame(rows)
    for name, value in columns.items():
        table[name] = value(table) if callable(value) else value
    table["is_control"] = table["gene"] == "DMSO"
    return table.assign(**dict(zip(FEATURES, rng.normal(size=(4, len(table))), strict=True)))


def read(table, tmp_path, **options):
    table.to_csv(tmp_path / "wells.csv", index=False)
    options = {"named_by": "auto", **options}
    return read_wells(tmp_path / "wells.csv", check_smiles=None, **options)


def test_genes_are_wells_like_others(tmp_path):
    wells = read(frame(["TP53", "MYC", "TP53"]), tmp_path)
    treated = wells.table[~wells.table["is_control"]]
    assert treated["name"].tolist() == ["TP53", "MYC", "TP53"]
    assert treated["concentration_um"].isna().all()
    assert (treated["smiles"] == "").all()
    assert not len(wells.rejected)
    assert any("took column 'gene'" in note for note in wells.notes)
    with pytest.raises(WellsError, match="no SMILES column"):
        read(frame(["TP53"]), tmp_path, named_by="")


def test_crispr_wells_of_rxrx3_are_kept_for_looking_up(tmp_path):
    table = frame(["TP53", "MYC"], perturbation_type="CRISPR").rename(columns={"gene": "treatment"})
    wells = read(table, tmp_path)
    assert wells.table["name"].tolist()[-2:] == ["TP53", "MYC"]


def test_a_gene_without_dose_is_no_untreated_well(tmp_path):
    """Where no column tells controls, wells with neither SMILES nor dose are taken for such."""
    table = frame(["TP53", "MYC"], dose_um=lambda t: np.where(t["gene"] == "DMSO", 0, np.nan))
    wells = read(table.drop(columns="is_control"), tmp_path, controls="gene=DMSO")
    assert wells.table["name"].tolist()[-2:] == ["TP53", "MYC"]
    assert (~wells.table["is_control"]).sum() == 2


def test_the_column_of_names_can_be_told(tmp_path):
    table = frame(["a", "b"], mine=lambda t: "x" + t["gene"])
    wells = read(table, tmp_path, named_by="mine")
    assert wells.table["name"].tolist()[-2:] == ["xa", "xb"]
    with pytest.raises(WellsError, match="no column 'yours' for names"):
        read(table, tmp_path, named_by="yours")


def test_doses_are_kept_where_they_are_known(tmp_path):
    table = frame(["a", "b", "c"], dose_um=lambda t: t["gene"].map({"a": 10, "b": 0, "DMSO": 0}))
    dose = read(table, tmp_path).table["concentration_um"].to_numpy()[-3:]
    np.testing.assert_array_equal(dose, [10, np.nan, np.nan])
    wrong = read(table.assign(dose_um=lambda t: t["dose_um"].where(t["gene"] != "a", -1)), tmp_path)
    assert wrong.rejected["reason"].tolist() == ["concentration is negative"]


def test_one_well_cannot_be_two_genes(tmp_path):
    table = frame(["TP53", "MYC", "KRAS"])
    table.loc[table["gene"] == "MYC", "well"] = table.loc[table["gene"] == "TP53", "well"].item()
    wells = read(table, tmp_path)
    assert wells.rejected["reason"].str.contains("one well, two treatments: TP53").all()
    assert wells.table["name"].tolist()[-1] == "KRAS"
    assert len(wells.rejected) == 2
