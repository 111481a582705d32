"""The "Reductions" of docs/method.md §3: losses to each other, and to symmetries of a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses import blocks, make_loss, streaming
from molphenix_jax.losses.sigmoid import mixture_pairs, weighted_pairs
from molphenix_jax.losses.similarity import Identity
from molphenix_jax.losses.softmax import SoftmaxKernel
from tests.losses import cases

pytestmark = pytest.mark.slow


def evaluate(name, z_x, z_m, *, profile=None, scale=cases.SCALE, bias=cases.BIAS, **options):
    loss = compiled(name, null_constant=cases.NULL_CONSTANT, scale=scale, bias=bias, **options)
    return float(loss(z_x, z_m, profile=profile)[0])


@functools.cache
def compiled(name, *, null_constant, scale, bias, **options):
    """A loss as one program: operation by operation each would be compiled."""
    given = {"null_constant": null_constant, "scale": scale, "bias": bias}
    return jax.jit(functools.partial(make_loss(name, **options), **given))


@pytest.fixture(scope="module")
def real():
    return cases.make_batch().real()


@pytest.mark.parametrize("form", ["weighted", "mixture"])
def test_s2l_with_identity_similarity_is_siglip(real, form):
    # k = 1 leaves only pairs at distance 0, and no two profiles are equal.
    s2l = evaluate(
        "s2l",
        real.z_x,
        real.z_m,
        profile=real.profile,
        form=form,
        gamma=1.0,
        zeta=1.0,
        threshold=1.0,
    )
    assert s2l == pytest.approx(evaluate("siglip", real.z_x, real.z_m), rel=1e-6)


def test_cwcl_with_identity_similarity_is_one_direction_of_clip():
    # Of two opposite profiles each is similar (1) to itself and not at all (0) to the other.
    z_x, z_m = cases.unit(np.array([[1.0, 0.2], [0.3, 1.0]])), cases.unit(np.eye(2) + 0.1)
    profile = np.array([[1.0, 2.0], [-1.0, -2.0]], np.float32)
    forth = evaluate("cwcl", z_x, z_m, profile=profile)
    back = evaluate("cwcl", z_m, z_x, profile=profile)
    assert forth + back == pytest.approx(evaluate("clip", z_x, z_m), rel=1e-6)
    assert forth != pytest.approx(back, rel=1e-3)


@pytest.mark.parametrize("execution", ["dense", "chunked"])
def test_cwcl_with_identity_similarity_is_half_of_clip(real, execution):
    """No profiles of more than two rows make cosines of w = I, so it is put in the kernel."""
    plan = streaming.Plan(execution, chunk_size=8 if execution == "chunked" else 0)
    kernel = SoftmaxKernel(Identity(), columns=False)

    def cwcl(z_x, z_m):
        n = len(z_x)
        x, m = (
            blocks.Side(jnp.asarray(z), None, jnp.arange(n), jnp.ones(n, bool)) for z in (z_x, z_m)
        )
        shared = blocks.Shared(jnp.float32(cases.SCALE), jnp.float32(0.0), None, None)
        return float(streaming.summed(kernel, x, m, shared, plan)[0]) / n

    clip = evaluate("clip", real.z_x, real.z_m)
    forth, back = cwcl(real.z_x, real.z_m), cwcl(real.z_m, real.z_x)
    assert forth + back == pytest.approx(clip, rel=1e-6)
    assert forth != pytest.approx(back, rel=1e-3)
    # Where both directions see the same logits each is exactly half.
    assert cwcl(real.z_x, real.z_x) == pytest.approx(
        evaluate("clip", real.z_x, real.z_x) / 2, rel=1e-6
    )


def test_infoloob_is_dcl_times_temperature(real):
    dcl = evaluate("dcl", real.z_x, real.z_m)
    assert evaluate("infoloob", real.z_x, real.z_m) == pytest.approx(dcl / cases.SCALE, rel=1e-6)


def test_clip_exceeds_dcl_by_the_positive(real):
    """log(e^a + e^b) = b + log(1 + e^(a-b)): the positive is all that CLIP adds to DCL."""
    logit = cases.SCALE * real.z_x.astype(float) @ real.z_m.T.astype(float)
    positive = np.diag(logit)
    off = np.where(np.eye(len(logit), dtype=bool), -np.inf, logit)
    added = 0.0
    for axis in (0, 1):
        lse = np.log(np.exp(off).sum(axis))
        added += np.mean(np.log1p(np.exp(positive - lse)))
    clip, dcl = evaluate("clip", real.z_x, real.z_m), evaluate("dcl", real.z_x, real.z_m)
    assert clip - dcl == pytest.approx(added, rel=1e-4)


@pytest.mark.parametrize("case", cases.CASES)
def test_order_of_rows_does_not_matter(real, case):
    name, options = cases.CASES[case]
    order = np.random.default_rng(1).permutation(len(real.z_x))
    given = evaluate(name, real.z_x, real.z_m, profile=real.profile, **options)
    shuffled = evaluate(
        name, real.z_x[order], real.z_m[order], profile=real.profile[order], **options
    )
    assert shuffled == pytest.approx(given, rel=1e-5)
    crossed = evaluate(name, real.z_x, real.z_m[order], profile=real.profile, **options)
    assert crossed > 1.005 * given  # and a wrong pairing is worse


@pytest.mark.parametrize(("gamma", "zeta"), [(1.75, 0.75), (2.75, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("w", [0.75, 0.9])
def test_optimum_of_a_weighted_pair(gamma, zeta, w):
    """The loss of a pair is least where σ(l) = w / (w + γ - ζw) (docs/method.md §3)."""
    p = w / (w + gamma - zeta * w)
    at = jnp.full((1, 1), np.log(p / (1 - p)))

    def value(logit):
        return weighted_pairs(logit, jnp.full((1, 1), w), gamma=gamma, zeta=zeta)[0, 0]

    assert float(jax.grad(value)(at)[0, 0]) == pytest.approx(0.0, abs=1e-6)
    assert value(at + 0.1) > value(at) < value(at - 0.1)


def test_forms_coincide_for_certain_pairs_and_differ_between():
    logit = jnp.linspace(-120.0, 120.0, 25)[None, :]
    for w in (0.0, 1.0):
        both = [
            weighted_pairs(logit, jnp.full_like(logit, w), gamma=1.0, zeta=1.0),
            mixture_pairs(logit, jnp.full_like(logit, w)),
        ]
        np.testing.assert_allclose(both[0], both[1], rtol=1e-6)
    half = jnp.full_like(logit, 0.5)
    np.testing.assert_allclose(mixture_pairs(logit, half), np.log(2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("case", "execution"),
    [
        pytest.param(case, execution, marks=pytest.mark.long if part == "s2l-mixture ring" else [])
        for case in ("cwcl", "s2l", "s2l-mixture")
        for execution in ("dense", "chunked", "ring")
        for part in [f"{case} {execution}"]
    ],
)
def test_frozen_inputs_get_no_gradient(real, case, execution):
    name, options = cases.CASES[case]
    mesh = cases.ring_of(1) if execution == "ring" else None
    loss = make_loss(name, execution=execution, mesh=mesh, **options)

    def value(profile, null_constant):
        return loss(
            jnp.asarray(real.z_x),
            jnp.asarray(real.z_m),
            scale=9.0,
            bias=0.0,
            profile=profile,
            null_constant=null_constant,
        )[0]

    profile = jnp.asarray(real.profile)
    both = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))
    told, (for_profile, for_constant) = both(profile, 6.0)
    assert not for_profile.any()
    assert for_constant == 0.0
    assert told != both(profile[::-1], 6.0)[0]  # though the value depends on it


@pytest.mark.parametrize("execution", ["dense", "chunked"])
@pytest.mark.parametrize("case", cases.CASES)
def test_metrics_carry_no_gradient(real, case, execution):
    name, options = cases.CASES[case]
    loss = make_loss(name, execution=execution, **options)

    def metrics(z_x):
        return sum(
            loss(
                z_x,
                jnp.asarray(real.z_m),
                scale=9.0,
                bias=0.0,
                profile=jnp.asarray(real.profile),
                null_constant=6.0,
            )[1].values()
        )

    assert not jax.jit(jax.grad(metrics))(jnp.asarray(real.z_x)).any()


def test_a_gpu_has_tiles_that_are_worth_their_kernels(monkeypatch):
    plans = [streaming.Plan("chunked"), streaming.Plan("chunked", chunk_size=8)]
    assert [plan.tile for plan in plans] == [streaming.TILE, 8]
    monkeypatch.setattr(streaming.jax, "default_backend", lambda: "gpu")
    assert [plan.tile for plan in plans] == [streaming.GPU_TILE, 8]
    assert [plan.stripe for plan in plans] == [streaming.GPU_STRIPE, 8]
