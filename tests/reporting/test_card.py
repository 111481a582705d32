"""The model card of each kind of model."""

import pytest

from molphenix_jax.reporting.card import model_card

ALIGNMENT = {
    "kind": "alignment",
    "version": "0.1.0",
    "dose": {"kind": "onehot", "grid_log10": [-1.0, 1.0]},
    "conditions": {"columns": ["time_h", "cell_line"], "values": [["24", "U2OS"], ["48", "U2OS"]]},
    "blocks": {"maccs": 167},
    "encoder": None,
    "featuriser": {"features": "2+rdkit", "graphs": "1"},
    "phenomics": "profiles",
    "feature_names": ["Cells_Area", "Nuclei_Texture"],
    "correction": {"method": "tvn"},
    "screen": {"name": "dahlin", "source": ["wells.parquet"], "source_sha256": ["ab12"]},
    "trained": {"updates": 1200, "members": 4, "loss": "s2l", "molecules": 90},
}


def row(model: str, value: float) -> dict:
    ends = [value - 0.1, value + 0.1]
    return {
        "split": "unseen_molecules",
        "subset": "all",
        "psi": None,
        "gallery": "full",
        "direction": "profile_to_molecule",
        "model": model,
        "n_queries": 50,
        "n_gallery": 50,
        "top_1pct": value,
        "top_5pct": value,
        "top_1pct_ci": ends,
        "top_5pct_ci": ends,
        "median_rank_pct": 20.0,
        "chance_1pct": 0.02,
        "chance_5pct": 0.06,
    }


def test_an_alignment_tells_data_inputs_recall_and_limits():
    other = {**row("molphenix", 0.9), "split": "validation"}
    evaluation = {"results": [row("molphenix", 0.31), row("ridge", 0.22), other]}
    levels = {"time_h": ("24", "48")}
    request = {"path": "u2os", "data_licence": "CC0", "levels": levels, "note": "Over 5 folds."}
    card = model_card(ALIGNMENT, evaluation, **request)
    for part in (
        "molphenix_jax.load('u2os')",
        "concentration_um=10, conditions={'time_h': '24'}",
        "Screen `dahlin`, from wells.parquet",
        "updates 1,200, members 4, molecules 90",
        "Licence of the data: CC0",
        "trained at 0.1, 10 µM",
        "Condition time_h: 24, 48",
        "2 features, `Cells_Area` to `Nuclei_Texture`, corrected (tvn)",
        "Over 5 folds.",
        "31.0 [21.0, 41.0]",
        "22.0 [12.0, 32.0]",
    ):
        assert part in card, part
    # What it was chosen by is not shown as if it were a result.
    assert "90.0" not in card
    assert "cell_line" not in card


@pytest.mark.parametrize(
    ("kind", "command"), [("molecule_encoder", "embed "), ("image_encoder", "embed-images ")]
)
def test_an_encoder_tells_the_command_that_takes_it(kind, command):
    about = {"kind": kind, "version": "0.1.0", "source": "MAE trained for 40 updates"}
    card = model_card(about, None, path="enc", data_licence="")
    assert f"molphenix {command}" in card
    assert "--encoder=enc" in card
    assert "Licence of the data: not told" in card
    assert "Recall" not in card
