import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models.vit import (
    MAE,
    PRESETS,
    EncoderConfig,
    MAEConfig,
    Reconstruction,
    mae_loss,
    random_mask,
)

# Nearly all time here is XLA's, so it compiles with little effort.
pytestmark = pytest.mark.usefixtures("cache")

CONFIG = MAEConfig(
    EncoderConfig(width=32, depth=1, heads=2, patch=8), channels=3, width=16, depth=1, heads=2
)
TOKENS = 3 * 16


def images(n=2):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8))


@pytest.fixture(scope="module")
def mask():
    return random_mask(jax.random.key(1), n=2, tokens=TOKENS, ratio=0.75)


@pytest.fixture(scope="module")
def params(mask):
    return jax.jit(MAE(CONFIG).init)(jax.random.key(0), images(), mask)


@jax.jit
def paint(params, x, mask):
    """The model, compiled as a whole: operation by operation it takes minutes."""
    return MAE(CONFIG).apply(params, x, mask)


def test_a_mask_hides_its_share_and_restores_the_order():
    mask = jax.device_get(random_mask(jax.random.key(0), n=5, tokens=40, ratio=0.75))
    assert mask.visible.shape == (5, 10)
    hidden = np.asarray(mask.hidden)
    assert (hidden.sum(1) == 30).all()
    assert len(np.unique(hidden, axis=0)) == 5
    for visible, row, restore in zip(mask.visible, hidden, mask.restore, strict=True):
        np.testing.assert_array_equal(np.sort(visible), np.flatnonzero(~row))
        # The place of a visible patch among the visible ones.
        np.testing.assert_array_equal(np.asarray(restore)[np.asarray(visible)], np.arange(10))


@pytest.mark.slow
def test_openphenom_has_its_178_million_numbers():
    c = PRESETS["openphenom"]
    tokens = 6 * 256
    mask = jax.eval_shape(
        lambda k: random_mask(k, n=1, tokens=tokens, ratio=0.75), jax.random.key(0)
    )
    x = jax.ShapeDtypeStruct((1, 6, 256, 256), jnp.uint8)
    shapes = jax.eval_shape(MAE(c).init, jax.random.key(0), x, mask)
    learned = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    positions = (1 + 11 * 256) * 384 + (1 + tokens) * 512
    unused = 2 * 384 + 512  # fc_norm, the class token's placeholder
    assert learned + positions + unused == 178_045_568


@pytest.mark.slow
def test_channels_are_told_apart_and_painted_by_their_own_blocks(params, mask):
    out = paint(params, images(), mask)
    assert out.predicted.shape == out.target.shape == (2, TOKENS, 64)
    decoders = params["params"]["decoders"]["block_0"]["qkv"]["kernel"]
    assert decoders.shape == (3, 16, 48)
    changed = jax.tree_util.tree_map_with_path(
        lambda path, p: p.at[1].add(1.0) if "decoders" in str(path) else p, params
    )
    other = paint(changed, images(), mask)
    same = np.isclose(out.predicted, other.predicted).all((0, 2)).reshape(3, 16)
    assert same[0].all()
    assert not same[1].any()
    assert same[2].all()


def test_another_number_of_channels_is_an_error(mask):
    params = jax.eval_shape(MAE(CONFIG).init, jax.random.key(0), images(), mask)
    with pytest.raises(ValueError, match="2 channels for decoders of 3"):
        jax.eval_shape(MAE(CONFIG).apply, params, images()[:, :2], mask)


@pytest.mark.slow
def test_a_perfect_painting_costs_nothing_and_visible_patches_do_not_count():
    rng = np.random.default_rng(0)
    target = jnp.asarray(rng.normal(size=(2, 4, 16)).astype(np.float32))
    hidden = jnp.asarray([[True, False, True, False], [False, False, True, True]])
    loss, _ = mae_loss(Reconstruction(target, target, hidden), fourier_weight=0.01)
    assert float(loss) == 0.0
    off = target + jnp.where(hidden, 0.0, 5.0)[..., None]
    assert float(mae_loss(Reconstruction(off, target, hidden), fourier_weight=0.01)[0]) == 0.0


def test_the_loss_is_what_the_formula_says():
    rng = np.random.default_rng(1)
    predicted, target = rng.normal(size=(2, 2, 3, 16)).astype(np.float32)
    hidden = np.array([[True, False, True], [False, True, True]])
    squares, fourier = [], []
    for i, t in zip(*np.nonzero(hidden), strict=True):
        squares.append(np.mean((predicted[i, t] - target[i, t]) ** 2))
        a, b = (np.abs(np.fft.fft2(x[i, t].reshape(4, 4))) for x in (predicted, target))
        fourier.append(np.mean(np.abs(a - b)))
    r = Reconstruction(*(jnp.asarray(a) for a in (predicted, target, hidden)))
    loss, metrics = mae_loss(r, fourier_weight=0.25)
    assert float(metrics["mse"]) == pytest.approx(np.mean(squares), rel=1e-5)
    assert float(metrics["fourier_l1"]) == pytest.approx(np.mean(fourier), rel=1e-4)
    assert float(loss) == pytest.approx(0.75 * np.mean(squares) + 0.25 * np.mean(fourier), rel=1e-4)


@pytest.mark.slow
def test_gradients_are_finite_also_for_images_of_one_value(params, mask):
    flat = jnp.full((2, 3, 32, 32), 9, jnp.uint8)

    def loss(p):
        return mae_loss(MAE(CONFIG).apply(p, flat, mask), fourier_weight=0.01)[0]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(leaf).all()


@pytest.mark.slow
def test_it_learns_to_paint(params, mask):
    x = images() // 4 + jnp.arange(0, 192, 6, dtype=jnp.uint8)[None, None, None, :]

    @jax.jit
    def step(p):
        value, grads = jax.value_and_grad(
            lambda p: mae_loss(MAE(CONFIG).apply(p, x, mask), fourier_weight=0.01)[0]
        )(p)
        return value, jax.tree.map(lambda a, g: a - 0.05 * g, p, grads)

    losses = []
    for _ in range(40):
        value, params = step(params)
        losses.append(float(value))
    assert losses[-1] < 0.6 * losses[0]
