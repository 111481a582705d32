import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import check_smiles, standardise
from molphenix_jax.simulated import screen as simulated
from molphenix_jax.simulated.screen import TINY, SimulationConfig, simulate_wells

pytestmark = pytest.mark.slow

# Smaller than the default, same biology and layout.
SMALL = SimulationConfig(n_molecules=150, concentrations_um=(0.1, 1.0, 30.0))


@dataclasses.dataclass(frozen=True)
class Screen:
    """A written screen, read back, and its perturbations after centring and scaling on controls."""

    wells: pd.DataFrame
    observed: np.ndarray  # [wells, d]
    expected: np.ndarray
    perturbation: np.ndarray  # [wells], -1 for controls
    concentration_um: np.ndarray  # [perturbations]
    profile: np.ndarray  # [perturbations, d] from the observed wells
    truth: np.ndarray  # [perturbations, d] from the truth
    replicate_cosine: np.ndarray  # [perturbations] mean over pairs of replicates
    p_value: np.ndarray  # [perturbations]


def read(paths) -> Screen:
    wells, truth = (pd.read_parquet(path) for path in paths)
    observed, expected = (np.stack(table["embedding"]) for table in (wells, truth))
    x, t = np.empty_like(observed), np.empty_like(expected)
    for _, batch in wells.groupby("batch"):
        rows = batch.index.to_numpy()
        controls = observed[rows[batch["is_control"]]]
        mean, sd = controls.mean(axis=0), controls.std(axis=0)
        x[rows], t[rows] = (observed[rows] - mean) / sd, (expected[rows] - mean) / sd
    treated = np.flatnonzero(~wells["is_control"])
    inchikeys = standardise(wells["smiles"][treated].tolist())["inchikey"]
    pairs = pd.MultiIndex.from_arrays([inchikeys, wells["concentration_um"][treated]])
    codes, unique = pd.factorize(pairs)
    count = np.bincount(codes)
    one_hot = (np.arange(len(unique))[:, None] == codes).astype(np.float32)
    unit = x[treated] / np.linalg.norm(x[treated], axis=1, keepdims=True)
    statistic = _mean_pair_cosine(one_hot @ unit, count)
    rng = np.random.default_rng(0)
    random = unit[rng.integers(0, len(unit), (2000, 4))].sum(axis=1)
    null = np.sort(_mean_pair_cosine(random, np.full(2000, 4)))
    perturbation = np.full(len(wells), -1)
    perturbation[treated] = codes
    return Screen(
        wells=wells,
        observed=observed,
        expected=expected,
        perturbation=perturbation,
        concentration_um=unique.get_level_values(1).to_numpy(),
        profile=one_hot @ x[treated] / count[:, None],
        truth=one_hot @ t[treated] / count[:, None],
        replicate_cosine=statistic,
        p_value=(1 + len(null) - np.searchsorted(null, statistic)) / (1 + len(null)),
    )


def _mean_pair_cosine(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return ((total**2).sum(axis=1) - count) / np.maximum(count * (count - 1), 1)


def oracle_recall(screen: Screen, chosen: np.ndarray) -> float:
    """Top-1% recall among the chosen, by distance to the truth, ties counted against us."""
    query, gallery = screen.profile[chosen], screen.truth[chosen]
    distance = ((query[:, None] - gallery[None]) ** 2).sum(axis=2)
    rank = (distance <= np.diag(distance)[:, None] + 1e-6).sum(axis=1)
    return float((rank <= np.ceil(0.01 * len(query))).mean())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Screen:
    return read(simulate_wells(TINY, tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Screen:
    return read(simulate_wells(SMALL, tmp_path_factory.mktemp("small")))


def test_layout_is_the_wells_contract(small):
    wells = small.wells
    assert wells.columns.tolist() == [
        *("plate", "well", "batch", "smiles", "concentration_um", "is_control", "embedding")
    ]
    assert not wells.duplicated(["plate", "well"]).any()
    assert wells["well"].str.fullmatch(r"[A-P](0[1-9]|1[0-9]|2[0-4])").all()
    assert wells.groupby("plate")["batch"].nunique().eq(1).all()
    assert wells["batch"].nunique() == SMALL.n_experiments
    assert wells.groupby("batch")["plate"].nunique().eq(2).all()
    controls = wells[wells["is_control"]]
    assert controls.groupby("plate").size().tolist() == [32] * 8
    assert controls["concentration_um"].eq(0).all()
    assert controls["smiles"].isna().all()
    treated = wells[~wells["is_control"]]
    assert set(treated["concentration_um"]) == set(SMALL.concentrations_um)
    assert small.observed.dtype == np.float32
    assert small.observed.shape == (len(wells), SMALL.n_features)
    assert np.isfinite(small.observed).all()
    assert check_smiles(treated["smiles"].tolist()) == [None] * len(treated)


def test_one_replicate_in_each_experiment_but_for_failed_wells(small):
    treated = small.perturbation >= 0
    n_pairs = SMALL.n_molecules * len(SMALL.concentrations_um)
    per_batch = pd.crosstab(small.perturbation[treated], small.wells["batch"][treated].to_numpy())
    assert per_batch.shape == (n_pairs, SMALL.n_experiments)
    assert set(np.unique(per_batch)) == {0, 1}
    assert 0.005 < 1 - per_batch.to_numpy().mean() < 0.04


def test_salts_are_the_same_molecules_in_other_clothes(small):
    smiles = small.wells["smiles"].dropna().unique()
    assert len(smiles) > SMALL.n_molecules
    assert standardise(smiles.tolist())["inchikey"].nunique() == SMALL.n_molecules


def test_truth_has_the_same_rows(tmp_path):
    wells, truth = (pd.read_parquet(path) for path in simulate_wells(TINY, tmp_path))
    assert list(truth.columns) == list(wells.columns)
    pd.testing.assert_frame_equal(wells.drop(columns="embedding"), truth.drop(columns="embedding"))


def test_same_config_same_bytes_and_another_seed_another_screen(tmp_path):
    def digests(config, name):
        paths = simulate_wells(config, tmp_path / name)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    first = digests(TINY, "a")
    assert digests(TINY, "b") == first
    other = digests(dataclasses.replace(TINY, seed=1), "c")
    assert not set(other) & set(first)


def test_truth_is_the_mean_over_noise(tmp_path):
    """Fifty controls and 120 treated wells an experiment: residuals average out (equation 7)."""
    quiet = dataclasses.replace(TINY, sd_plate=0.0, amplitude_edge=0.0, controls_per_plate=200)
    screen = read(simulate_wells(quiet, tmp_path))
    residual = screen.observed - screen.expected
    for _, batch in screen.wells.groupby("batch"):
        part = residual[batch.index]
        z = part.mean(axis=0) / (part.std(axis=0, ddof=1) / np.sqrt(len(part)))
        assert np.abs(z).max() < 4.5


def test_without_noise_wells_are_the_truth(tmp_path):
    silent = dataclasses.replace(
        TINY, sd_plate=0.0, amplitude_edge=0.0, noise_modes=0, sd_noise=0.0
    )
    wells, truth = (pd.read_parquet(path) for path in simulate_wells(silent, tmp_path))
    np.testing.assert_array_equal(np.stack(wells["embedding"]), np.stack(truth["embedding"]))


def test_edge_effect_is_in_the_outer_ring_and_plate_effect_in_the_plate(tmp_path):
    quiet = dataclasses.replace(TINY, noise_modes=0, sd_noise=0.0)
    edge = read(simulate_wells(dataclasses.replace(quiet, sd_plate=0.0), tmp_path))
    moved = np.abs(edge.observed - edge.expected).max(axis=1) > 1e-3
    in_ring = edge.wells["well"].str.fullmatch(r"[AP]..|.(01|24)").to_numpy()
    np.testing.assert_array_equal(moved, in_ring)

    several = dataclasses.replace(quiet, amplitude_edge=0.0, controls_per_plate=320)
    plate = read(simulate_wells(several, tmp_path))
    assert plate.wells["plate"].nunique() == 4
    shift = pd.DataFrame(plate.observed - plate.expected).groupby(plate.wells["plate"])
    assert shift.std().to_numpy().max() < 1e-3
    assert shift.mean().std().min() > 1e-2


def test_truth_knows_no_plate(small):
    """All controls of an experiment are expected alike, whatever their plate and position."""
    for _, batch in small.wells.groupby("batch"):
        controls = small.expected[batch.index[batch["is_control"]]]
        np.testing.assert_array_equal(controls, np.broadcast_to(controls[0], controls.shape))
    plates = small.wells[small.wells["is_control"]].groupby("plate").indices
    means = np.stack(
        [small.observed[small.wells["is_control"]][i].mean(0) for i in plates.values()]
    )
    assert means.std(axis=0).min() > 0


def test_untouched_molecules_are_expected_as_controls(small):
    """At 0.1 µM most molecules do nothing: their truth is the truth of a control."""
    control = {
        batch: small.expected[rows.index[rows["is_control"]][0]]
        for batch, rows in small.wells.groupby("batch")
    }
    reference = np.stack([control[batch] for batch in small.wells["batch"]])
    distance = np.linalg.norm(small.expected - reference, axis=1)
    low = ((small.wells["concentration_um"] == 0.1) & ~small.wells["is_control"]).to_numpy()
    high = ((small.wells["concentration_um"] == 30.0) & ~small.wells["is_control"]).to_numpy()
    assert np.median(distance[low]) < 0.02 * np.median(distance[high][distance[high] > 5])
    assert np.mean(distance[low] < 1) > 0.6


def test_share_of_actives_rises_with_dose(small):
    active = small.p_value <= 0.01
    share = [active[small.concentration_um == c].mean() for c in SMALL.concentrations_um]
    assert share[0] < 0.15
    assert share[0] < share[1] < share[2]
    assert 0.3 < share[2] < 0.55


def test_replicates_of_actives_agree_as_in_real_screens(small):
    top = (small.concentration_um == 30.0) & (small.p_value <= 0.01)
    assert 0.5 < np.median(small.replicate_cosine[top]) < 0.8
    assert abs(np.median(small.replicate_cosine[small.p_value > 0.1])) < 0.05


def test_uncorrected_profiles_look_alike(small):
    unit = small.observed / np.linalg.norm(small.observed, axis=1, keepdims=True)
    rows = np.random.default_rng(0).permutation(len(unit))[:400]
    assert 0.5 < (unit[rows] @ unit[rows].T).mean() < 0.9


def test_oracle_finds_actives_and_not_inactives(small):
    assert oracle_recall(small, small.p_value <= 0.01) > 0.8
    low = (small.concentration_um == 0.1) & (small.p_value > 0.2)
    assert oracle_recall(small, low) < 0.15


def test_tiny_screen_is_a_screen(tiny):
    assert len(tiny.profile) == 60 * 2
    assert oracle_recall(tiny, tiny.p_value <= 0.05) > 0.3


def test_too_many_molecules_says_how_many_there_are(tmp_path, monkeypatch):
    chains = [length * "C" for length in range(1, 71)]
    monkeypatch.setattr(simulated.molecules, "shipped_smiles", lambda: chains)
    with pytest.raises(InputError, match=r"only 51 of the built-in ones have 10 to 60 heavy"):
        simulate_wells(TINY, tmp_path)
    with pytest.raises(InputError, match=r"n_molecules=71: there are 70 built-in ones"):
        simulate_wells(dataclasses.replace(TINY, n_molecules=71), tmp_path)


def test_molecules_of_a_file_take_the_place_of_the_shipped_ones(tmp_path):
    given = [f"CCCCC{'C' * i}c1cc{'(N)' * (i % 2)}ccc1C(=O)N" for i in range(8)]
    file = tmp_path / "mine.csv"
    file.write_text("name,smiles\n" + "".join(f"m{i},{s}\n" for i, s in enumerate(given)))
    config = dataclasses.replace(TINY, n_molecules=6, salt_rate=0.0, molecules=str(file))
    wells = pd.read_parquet(simulate_wells(config, tmp_path / "screen")[0])
    found = set(wells["smiles"].dropna())
    assert len(found) == 6
    assert found < set(simulated.molecules.standardise(given)["smiles"])
    with pytest.raises(InputError, match=r"there are 8 molecules of mine.csv.*molecules=FILE"):
        simulate_wells(dataclasses.replace(config, n_molecules=9), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_molecules": 0}, "n_molecules=0: from 1"),
        ({"n_experiments": 0}, "n_experiments=0: from 1"),
        ({"concentrations_um": ()}, "is empty"),
        ({"concentrations_um": (1.0, 0.0)}, "from 1e-09"),
        ({"controls_per_plate": 384}, "from 1 to 383"),
        ({"min_heavy_atoms": 61}, "is above max_heavy_atoms=60"),
        ({"n_experiments": 10**6}, "n_experiments=1000000: .* wells; the built-in screen has at"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_features", 0),
        ("n_features", -1),
        ("noise_modes", -1),
        ("failed_rate", 1.0),
        ("salt_rate", 9.0),
        ("sd_noise", -1.0),
        ("sd_noise", 1e300),
        ("sd_noise", float("nan")),
        ("own_from_structure", 3.0),
        ("toxicity_hill", 1e9),
        ("biology_seed", -3),
        ("concentrations_um", (1.0, 1e308)),
        ("amplitude_own", -1.0),
    ],
)
def test_numbers_that_no_screen_has_are_named(field, value):
    with pytest.raises(InputError, match=rf"{field}=.*: from .* to "):
        dataclasses.replace(TINY, **{field: value})
