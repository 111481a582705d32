"""Controls find what they are for, and nothing else; ties of theirs are drawn, not counted."""

import dataclasses

import numpy as np
import pytest

from molphenix_jax.evaluation import baselines, protocol, ranks
from molphenix_jax.evaluation.baselines import LeftOut, Observed

N_BITS, WIDTH, DOSES = 64, 8, (-1.0, 0.0, 1.0)
_PAPER = "profile_to_molecule"


def screen(*, seed=0, n_molecules=200, doses=DOSES):
    """Profiles that the dose turns and the number of cells stretches; bits set both of these."""
    rng = np.random.default_rng(seed)
    bits = (rng.random((n_molecules, N_BITS)) < 0.3).astype(np.uint8)
    molecule = np.repeat(np.arange(n_molecules), len(doses))
    log_dose = np.tile(doses, n_molecules)
    toxic = (bits - bits.mean(0)) @ rng.normal(size=N_BITS)
    cells = 1 - 0.3 * (toxic[molecule] + log_dose) + 0.01 * rng.normal(size=len(molecule))
    kind = rng.normal(size=(len(doses), WIDTH))[np.tile(np.arange(len(doses)), n_molecules)]
    noise = rng.normal(size=(len(molecule), WIDTH))
    profile = np.exp(-cells)[:, None] * (kind + 0.1 * noise)
    part = np.array(["train", "train", "validation", "test"])[molecule % 4]
    columns = {
        "bits": bits[molecule],
        "physchem": rng.normal(size=(len(molecule), 3)),
        "log_dose": log_dose,
        "condition": np.zeros((len(molecule), 0)),
        "profile": profile,
        "cell_count": cells,
    }
    rows = {
        f"{name}_{column}": values[part == name]
        for name in ("train", "validation", "test")
        for column, values in columns.items()
    }
    observed = Observed(rows.pop("test_profile"), rows.pop("test_cell_count"))
    return baselines.BaselineData(**rows), observed


def median_rank(prediction, observed, order=slice(None)):
    """In % of the gallery."""
    observed = Observed(*(None if part is None else part[order] for part in observed))
    compared = prediction.against(observed)
    own = np.arange(len(compared.profiles))
    found = ranks.rank_of_positive(
        compared.profiles, compared.molecules, own, metric=compared.metric
    )
    luck = np.random.default_rng(0).random(len(own))
    rank = found.pessimistic if compared.ties == "against" else found.drawn(luck)
    return 100 * np.median(rank) / len(own)


@pytest.mark.parametrize(
    ("control", "most"), [("dose_only", 25), ("cell_count", 10), ("magnitude", 15)]
)
def test_each_finds_what_it_is_for(control, most):
    data, observed = screen()
    prediction = baselines.predict(control, data)
    assert median_rank(prediction, observed) < most
    shuffled = np.random.default_rng(1).permutation(len(observed.profile))
    assert median_rank(prediction, observed, shuffled) > 35


def test_candidates_of_one_dose_are_found_by_chance():
    data, observed = screen()
    prediction = baselines.dose_only(data)
    query, gallery, metric, ties = prediction.against(observed)
    one = np.flatnonzero(data.test_log_dose == 1.0)
    found = ranks.rank_of_positive(query[one], gallery[one], np.arange(len(one)), metric=metric)
    assert ties == "random"
    assert (found.strict == 1).all(), "they are all alike"
    assert (found.pessimistic == len(one)).all()
    luck = np.random.default_rng(0).random(len(one))
    assert (found.drawn(luck) == 1 + np.floor(luck * len(one))).all()
    assert (found.drawn(np.zeros(len(one))) == 1).all()
    assert (found.drawn(np.full(len(one), 1 - 1e-12)) == len(one)).all()


def test_what_is_drawn_reaches_chance_in_every_gallery():
    """The draws of small galleries are independent, and those of a query the same wherever."""
    m = 1200
    rng = np.random.default_rng(0)
    candidates = protocol.Candidates(
        "unseen_molecules",
        np.arange(m),
        rng.permutation(np.repeat(1.02 ** np.arange(300), 4)),
        np.full(m, ""),
        np.zeros(m),
        np.ones((m, 2)),
    )
    alike = protocol.Compared(np.ones((m, 1)), np.ones((m, 1)), "euclidean", "random")
    found = protocol.evaluate(candidates, {"none": alike}, psis=())
    shown = {t.setting.gallery: t for t in found.tables if t.setting.direction == _PAPER}
    for table in (shown["same_dose"], shown["full"]):
        rank, n = table.rank["none"], table.n_gallery
        assert abs(((rank - 0.5) / n).mean() - 0.5) < 0.03
        assert abs((rank <= n / 4).mean() - 0.25) < 0.04
    order = rng.permutation(m)
    again = protocol.evaluate(
        dataclasses.replace(
            candidates,
            molecule=candidates.molecule[order],
            concentration_um=candidates.concentration_um[order],
        ),
        {"none": alike},
        psis=(),
    )
    full = next(t for t in again.tables if t.setting == shown["full"].setting)
    np.testing.assert_array_equal(full.rank["none"], shown["full"].rank["none"][order])


def test_who_shares_the_source_is_told_apart_from_who_does_not():
    data, observed = screen()
    m = len(data.test_log_dose)
    source = np.eye(4)[np.arange(m) % 4]
    prediction = baselines.source_only(dataclasses.replace(data, test_source=source))
    found = median_rank(prediction, observed._replace(source=source))
    assert 8 < found < 17, "in the middle of a quarter of the gallery"
    # Another split with fewer sources, and one that knows of none.
    assert prediction.against(observed._replace(source=source[:, :2])).profiles.shape == (m, 4)
    assert prediction.against(observed) is None


def test_a_well_without_a_number_stands_at_the_mean():
    data, observed = screen()
    counts = data.train_cell_count.copy()
    counts[::3] = np.nan
    prediction = baselines.cell_count(dataclasses.replace(data, train_cell_count=counts))
    gaps = observed.cell_count.copy()
    gaps[0] = np.nan
    query = prediction.against(observed._replace(cell_count=gaps)).profiles
    assert query[0, 0] == pytest.approx(np.nanmean(counts))
    assert (query[1:, 0] == gaps[1:]).all()
    assert prediction.against(observed._replace(cell_count=None)) is None
    assert median_rank(prediction, observed) < 15


@pytest.mark.parametrize(
    ("control", "changes", "message"),
    [
        ("source_only", {}, "no column tells several sources"),
        ("cell_count", {"train_cell_count": None}, "the screen has no number"),
        ("cell_count", {"train_cell_count": np.full(300, np.nan)}, "0% of the perturbations"),
        ("dose_only", {"test_log_dose": np.zeros(150)}, "the same dose"),
    ],
)
def test_what_a_screen_lacks_leaves_a_control_out(control, changes, message):
    data = dataclasses.replace(screen()[0], **changes)
    with pytest.raises(LeftOut, match=message):
        baselines.predict(control, data)


def test_controls_are_ranked_beside_the_others():
    data, observed = screen(n_molecules=80)
    names = ("ridge", "dose_only", "cell_count", "magnitude")
    embeddings = {name: baselines.predict(name, data).against(observed) for name in names}
    m = len(observed.profile)
    candidates = protocol.Candidates(
        "unseen_molecules",
        np.arange(m) // 3,
        10**data.test_log_dose,
        np.full(m, ""),
        np.zeros(m),
        observed.profile,
    )
    for table in protocol.evaluate(candidates, embeddings, psis=()).tables:
        assert set(table.rank) == set(names)
        assert all((rank >= 1).all() and (rank <= m).all() for rank in table.rank.values())
