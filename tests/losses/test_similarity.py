import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses import null_constant, similarity, soft_positives
from molphenix_jax.losses.blocks import Shared, Side
from tests.losses import reference


def sides(profile):
    n = len(profile)
    side = Side(
        jnp.zeros((n, 1)), jnp.asarray(profile, jnp.float32), jnp.arange(n), jnp.ones(n, bool)
    )
    shared = Shared(
        jnp.float32(1.0), jnp.float32(0.0), jnp.float32(6.0), jnp.asarray(profile.mean(0))
    )
    return side, side, shared


def test_arctan_similarity_is_exact_to_float32():
    t = np.linspace(0.0, 1.0, 200_001, dtype=np.float32)
    for run in (similarity.arctan_similarity, jax.jit(similarity.arctan_similarity)):
        w = np.asarray(run(jnp.asarray(t)[None, :]))[0]
        exact = 1 - np.arctan(t.astype(float)) * 4 / np.pi
        assert np.abs(w - exact).max() < 2e-7
        np.testing.assert_allclose(w[-1000:], exact[-1000:], rtol=1e-6)
        assert (w[0], w[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("width", [1, 6, 346, 4096])
def test_equal_profiles_are_at_no_distance_and_near_ones_are(width):
    """Of a batch in which a perturbation stands twice; rounding is no distance."""
    rng = np.random.default_rng(0)
    profile = rng.normal(size=(60, width)).astype(np.float32)
    profile[30:] = profile[:30]
    profile[-1] += 0.02 * rng.normal(size=width)
    row, col, shared = sides(profile)
    shared = shared._replace(null_constant=jnp.float32(2.0 * width))
    for run in (similarity.ArctanL2(0.0), jax.jit(similarity.ArctanL2(0.0).__call__)):
        w = np.asarray(run(row, col, shared))
        twin = w[np.arange(29), np.arange(30, 59)]
        np.testing.assert_array_equal(twin, 1.0)
        assert w[29, 59] < 1.0


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.75])
def test_arctan_similarity(threshold):
    rng = np.random.default_rng(0)
    profile = rng.normal(size=(30, 4)).astype(np.float32)
    profile[15:] = profile[:15] + 0.2 * profile[15:]
    w = np.asarray(similarity.ArctanL2(threshold)(*sides(profile)))
    expected = reference.arctan_similarity(profile.astype(float), 6.0, threshold)
    np.testing.assert_allclose(w, expected, atol=2e-6)
    assert (w[w > 0] >= threshold).all()
    assert 0 < np.mean(w > 0) < 1


def test_similarity_to_itself_is_exactly_one_and_offsets_cost_no_digits():
    """Raw profiles may share an offset; |p|² + |q|² - 2<p, q> alone would lose the distance."""
    rng = np.random.default_rng(0)
    profile = rng.normal(size=(20, 4)) + 1000.0
    profile[10:] = profile[:10] + 0.3 * rng.normal(size=(10, 4))
    profile = profile.astype(np.float32)
    expected = reference.arctan_similarity(profile.astype(float), 6.0, 0.0)
    for kind in (similarity.ArctanL2(0.0), similarity.Cosine(), similarity.Identity()):
        w = np.asarray(kind(*sides(profile)))
        assert (np.diag(w) == 1.0).all()
        assert ((w >= 0.0) & (w <= 1.0)).all()
        if isinstance(kind, similarity.ArctanL2):
            np.testing.assert_allclose(w, expected, atol=2e-4)


def test_cosine_similarity():
    profile = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    w = np.asarray(similarity.Cosine()(*sides(profile)))
    np.testing.assert_allclose(w, reference.cosine_similarity(profile), atol=1e-6)
    profile[3] = 0.0
    w = np.asarray(similarity.Cosine()(*sides(profile)))
    np.testing.assert_array_equal(np.delete(w[3], 3), 0.5)


def test_similarity_at_the_null_median_is_zero_and_half_at_its_tangent():
    c, p = 6.0, np.zeros((3, 1))
    p[1, 0], p[2, 0] = np.sqrt(c), np.sqrt(c * np.tan(np.pi / 8))
    w = np.asarray(similarity.ArctanL2(0.0)(*sides(p.astype(np.float32))))
    assert w[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert w[0, 2] == pytest.approx(0.5, abs=1e-6)


def test_profiles_of_a_pair_that_have_nothing_in_common_are_at_its_null_distance():
    p = np.array([[3.0, 0.0], [0.0, 1.0], [3.0, 0.1], [-3.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    w = np.asarray(similarity.ArctanL2(0.0, "pair")(*sides(p.astype(np.float32))))
    assert w[0, 1] == pytest.approx(0.0, abs=1e-6)  # at right angles, whatever their lengths
    assert w[0, 3] == 0.0  # opposed
    assert w[0, 2] > 0.99
    assert w[4, 5] == 1.0  # equal
    np.testing.assert_allclose(
        w, reference.arctan_similarity(p + 1e-30, 1.0, 0.0, "pair"), atol=1e-6
    )


def test_of_noise_alone_no_pair_is_similar_by_its_own_null():
    """By the screen's constant the pair nearest to the controls are the most similar of all."""
    rng = np.random.default_rng(0)
    profile = rng.normal(size=(60, 100))
    profile[30:] *= 3.0  # effects that have nothing in common
    own = similarity.ArctanL2(0.0, "pair")(*sides(profile.astype(np.float32)))
    row, col, shared = sides(profile.astype(np.float32))
    c = null_constant(profile, np.arange(60))
    shared = shared._replace(null_constant=jnp.float32(c))
    screen = similarity.ArctanL2(0.0)(row, col, shared)
    weak = np.triu_indices(30, 1)
    assert np.asarray(own)[weak].max() < 0.4
    assert np.asarray(screen)[weak].min() > 0.5


class TestSoftPositives:
    @staticmethod
    def profile():
        rng = np.random.default_rng(0)
        centres = 4.0 * rng.normal(size=(12, 8))
        return centres[rng.integers(0, 12, 300)] + rng.normal(size=(300, 8))

    @pytest.mark.parametrize("null", ["screen", "pair"])
    @pytest.mark.parametrize("share", [0.004, 0.05])
    def test_a_share_decides_the_threshold(self, share, null):
        profile, group = self.profile(), np.arange(300)
        c = null_constant(profile, group)
        found = soft_positives(profile, group, share=share, null=null, null_constant=c)
        w = reference.arctan_similarity(profile, c, found.threshold, null)
        w = w[~np.eye(300, dtype=bool)]
        assert np.mean(w > 0) == pytest.approx(share, rel=0.1)
        assert found.share == pytest.approx(share, rel=0.01)
        assert found.mean == pytest.approx(w.mean(), rel=0.1)
        again = soft_positives(
            profile, group, threshold=found.threshold, null=null, null_constant=c
        )
        assert again == found

    def test_no_more_can_be_similar_than_are(self):
        rng = np.random.default_rng(0)
        profile = 10.0 * np.eye(40) + 1e-3 * rng.normal(size=(40, 40))
        c = null_constant(profile, np.arange(40))
        # Of two that are alike among 40 that are not, no 30% are.
        profile[1] = profile[0]
        found = soft_positives(profile, np.arange(40), share=0.3, null_constant=c / 2)
        assert found.share == pytest.approx(2 / (40 * 39), rel=0.2)
        assert found.mean == pytest.approx(found.share)
        with pytest.raises(ValueError, match="share must be in"):
            soft_positives(profile, np.arange(40), share=1.0)


class TestNullConstant:
    def test_is_the_median_over_pairs_of_different_perturbations(self):
        rng = np.random.default_rng(0)
        group = np.array(["b", "a", "c", "a", "b", "b", "d", "a"])
        centres = {name: 5.0 * rng.normal(size=3) for name in "abcd"}
        profile = np.stack([centres[g] for g in group]) + 1e-3 * rng.normal(size=(8, 3))
        # First row uniform, second uniform outside its group, as the function draws them.
        squared, weight = [], []
        for i in range(8):
            others = [j for j in range(8) if group[j] != group[i]]
            for j in others:
                squared.append(np.sum((profile[i] - profile[j]) ** 2))
                weight.append(1 / len(others))
        order = np.argsort(squared)
        below = np.cumsum(np.array(weight)[order]) / np.sum(weight)
        low, high = (np.array(squared)[order][np.searchsorted(below, q)] for q in (0.47, 0.53))
        c = null_constant(profile, group, n_pairs=20_000, seed=3)
        assert low <= c <= high
        assert min(squared) > 1e-2  # replicates, at 1e-6, were never drawn

    def test_no_pair_lies_within_a_perturbation(self):
        # Two perturbations whose replicates coincide: any pair within one would be at distance 0.
        profile = np.repeat([[0.0], [3.0]], [1, 9], axis=0)
        group = np.repeat([0, 1], [1, 9])
        assert null_constant(profile, group, n_pairs=50) == 9.0
        assert null_constant(profile, group, n_pairs=50, literal=True) == 3.0

    def test_seed_decides(self):
        profile = np.random.default_rng(0).normal(size=(50, 4))
        values = [null_constant(profile, np.arange(50), n_pairs=99, seed=s) for s in (0, 0, 1)]
        assert values[0] == values[1] != values[2]

    @pytest.mark.parametrize(
        ("profile", "group", "message"),
        [
            (np.zeros((3, 2)), np.zeros(3), "at least two different perturbations"),
            (np.zeros((0, 2)), np.zeros(0), "at least two different perturbations"),
            (np.zeros((3, 2)), np.arange(3), "identical profiles"),
            (np.zeros((3, 2)), np.arange(4), "expected \\[n, p\\] and \\[n\\]"),
            (np.array([[0.0], [np.nan]]), np.arange(2), "row 1 has a NaN"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_errors(self, profile, group, message):
        with pytest.raises(ValueError, match=message):
            null_constant(profile, group)
