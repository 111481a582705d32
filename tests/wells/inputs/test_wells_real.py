"""Public screens as they are: no options at all."""

import json

import numpy as np
import pytest

from molphenix_jax.phenomics import fit_correction, replicate_consistency
from molphenix_jax.wells.table import read_wells


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "n_rejected", "n_controls", "group_by"),
    [
        # Two DMSO wells that hold 7% and 9% of the usual number of cells are set aside.
        ("profiles_dahlin_u2os", (7151, 344), 2, 3177, "plate"),
        ("profiles_comas_u2os", (1776, 579), 0, 0, "batch"),
        ("comas_cluster_similarity13", (3786, 13), 0, 0, "batch"),
        ("mito5_lincs_a549", (8396, 4), 0, 0, "batch"),
        ("mito5_cdrp_u2os", (30477, 4), 2, 0, "batch"),
    ],
)
def test_read_without_options(shared_data, name, shape, n_rejected, n_controls, group_by):
    wells = read_wells(shared_data / f"{name}.parquet", check_smiles=None)
    assert wells.embedding.shape == shape
    assert len(wells.rejected) == n_rejected
    assert wells.table["is_control"].sum() == n_controls
    assert wells.group_by == group_by
    assert np.isfinite(wells.embedding).all()
    treated = wells.table[~wells.table["is_control"]]
    assert (treated["concentration_um"] > 0).all()


@pytest.mark.slow
def test_the_complete_features_of_dahlin_are_found(shared_data):
    wells = read_wells(shared_data / "profiles_dahlin_u2os.parquet", check_smiles=None)
    used = json.loads((shared_data / "features_dahlin.json").read_text())["used346"]
    # Where an object lies in its image is no part of a profile.
    places = {"Cells_AreaShape_Center_Y", "Cytoplasm_AreaShape_Center_X"}
    assert set(wells.feature_names) == set(used) - places
    assert any(all(p in note for p in places) and "places" in note for note in wells.notes)
    assert any("26 of 370 features dropped" in note for note in wells.notes)


def test_the_cluster_similarities_are_the_features(shared_data):
    wells = read_wells(shared_data / "comas_cluster_similarity13.parquet", check_smiles=None)
    assert all(name.startswith("cluster_") for name in wells.feature_names)
    assert not {"cluster_sim", "cluster_high"} & set(wells.feature_names)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["centerscale", "pca_cs", "tvn"])
def test_dahlin_replicates_agree_after_correction(shared_data, method):
    wells = read_wells(shared_data / "profiles_dahlin_u2os.parquet", check_smiles=None)
    control = wells.table["is_control"].to_numpy()
    group = wells.table["plate"].to_numpy()
    x = fit_correction(wells.embedding, group, control, method=method).apply(
        wells.embedding, group
    )[~control]
    treated = wells.table[~control]
    perturbation = treated.groupby(["smiles", "concentration_um"]).ngroup().to_numpy()
    result = replicate_consistency(x, perturbation, n_null=300, seed=0)
    tested = np.isfinite(result.p_value)
    assert np.mean(result.p_value[tested] <= 0.01) > 0.6
    shuffled = np.random.default_rng(0).permutation(perturbation)
    null = replicate_consistency(x, shuffled, n_null=300, seed=0)
    assert np.mean(null.p_value[tested] <= 0.01) < 0.03
