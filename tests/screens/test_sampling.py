import numpy as np
import pytest

from molphenix_jax.screens.sampling import Sampler, permute, undersample, uniform


def make_sampler(**changes):
    replicates = np.array([1, 2, 3, 4, 2, 1, 5, 1])
    fields = {
        "active": np.array([0, 1, 2, 3, 4]),
        "inactive": np.array([5, 6, 7]),
        "keep_inactive": 0.0,
        "offsets": np.concatenate([[0], np.cumsum(replicates)]),
        "wells": np.arange(100, 100 + replicates.sum()),
        "batch_size": 2,
        "max_replicates": 3,
        "averaging": "random",
        "seed": 0,
    }
    return Sampler(**{**fields, **changes})


def test_a_batch_is_a_function_of_the_step():
    a, b = make_sampler(), make_sampler()
    for step in range(5):
        a.batch(step)
    for x, y in zip(a.batch(3), b.batch(3), strict=True):
        np.testing.assert_array_equal(x, y)


def test_batches_of_an_epoch_are_unique_active_perturbations():
    sampler = make_sampler()
    assert sampler.steps_per_epoch == 2
    seen = np.concatenate([sampler.batch(s).perturbation for s in (0, 1)])
    assert len(set(seen)) == 4
    assert set(seen) <= {0, 1, 2, 3, 4}


def test_every_active_perturbation_is_visited_over_epochs():
    sampler = make_sampler()
    seen = {int(i) for s in range(40) for i in sampler.batch(s).perturbation}
    assert seen == {0, 1, 2, 3, 4}


def test_keep_inactive_adds_that_share():
    sampler = make_sampler(keep_inactive=0.34, batch_size=6)
    seen = sampler.batch(0).perturbation
    assert (seen >= 5).sum() == 1
    everything = {int(i) for s in range(60) for i in sampler.batch(s).perturbation}
    assert everything == set(range(8))


@pytest.mark.parametrize("averaging", ["random", "full", "single"])
def test_weights_average_own_replicates_without_repetition(averaging):
    sampler = make_sampler(averaging=averaging)
    counts = set()
    for step in range(60):
        perturbation, replicate, weight = sampler.batch(step)
        np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-6)
        for p, rows, w in zip(perturbation, replicate, weight, strict=True):
            own = sampler.wells[sampler.offsets[p] : sampler.offsets[p + 1]]
            used = rows[w > 0]
            assert set(used) <= set(own)
            assert len(set(used)) == len(used)
            counts.add((len(own), len(used)))
    if averaging == "single":
        assert {used for _, used in counts} == {1}
    elif averaging == "full":
        assert all(used == min(own, 3) for own, used in counts)
    else:
        assert {used for own, used in counts if own == 4} == {1, 2, 3}


def test_undersample_is_a_hard_filter_with_a_rule_for_undefined_p():
    p = np.array([0.01, 0.1, 0.2, np.nan])
    np.testing.assert_array_equal(undersample(p, psi=0.1, undefined="active"), [1, 1, 0, 1])
    np.testing.assert_array_equal(undersample(p, psi=0.1, undefined="inactive"), [1, 1, 0, 0])


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_hosts_compute_their_rows_of_one_global_batch(hosts):
    sampler = make_sampler(keep_inactive=1.0, batch_size=8)
    for step in range(4):
        whole = sampler.batch(step)
        parts = [sampler.batch(step, np.arange(host, 8, hosts)) for host in range(hosts)]
        for host, part in enumerate(parts):
            for ours, theirs in zip(part, whole, strict=True):
                np.testing.assert_array_equal(ours, theirs[host::hosts])


def test_every_epoch_keeps_another_share_of_the_inactive():
    sampler = make_sampler(active=np.arange(2), inactive=np.arange(2, 8), keep_inactive=0.5)
    epochs = [
        np.concatenate([sampler.batch(step).perturbation for step in (2 * e, 2 * e + 1)])
        for e in range(30)
    ]
    kept = {tuple(sorted(epoch[epoch >= 2])) for epoch in epochs}
    assert {len(each) for each in kept} <= {2, 3}  # of the three kept, four of five are visited
    assert len(kept) > 10


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 12_345])
def test_a_permutation_reaches_every_element_once(size):
    for key in range(3):
        reached = permute(np.arange(size), size, 0, key)
        np.testing.assert_array_equal(np.sort(reached), np.arange(size))
        # Any element alone goes where it goes among all.
        np.testing.assert_array_equal(permute(np.array([size - 1]), size, 0, key), reached[-1:])


@pytest.mark.slow
def test_permutations_are_equally_likely():
    counts: dict[tuple, int] = {}
    for key in range(2_400):
        order = tuple(permute(np.arange(4), 4, 1, key).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    # 100 each; chi-square with 23 degrees of freedom is below 50 with probability 0.999.
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 50


def test_uniform_numbers_are_uniform_and_differ_by_every_part():
    numbers = uniform(0, 1, np.arange(200)[:, None], np.arange(100)[None, :]).ravel()
    assert len(np.unique(numbers)) == len(numbers)
    assert np.histogram(numbers, bins=10, range=(0, 1))[0].min() > 1_850
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
