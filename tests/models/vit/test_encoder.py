import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models.vit import (
    PRESETS,
    Encoder,
    EncoderConfig,
    embed_crops,
    patchify,
    standardise_channels,
    unpatchify,
)
from molphenix_jax.models.vit.tokens import position_encoding, token_positions

# Nearly all time here is XLA's, so it compiles with little effort.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]

CONFIG = EncoderConfig(width=32, depth=2, heads=2, patch=8)


def images(n=3, channels=4, size=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, channels, size, size)).astype(np.uint8)


@functools.partial(jax.jit, static_argnames=("config", "train"))
def encode(config, params, x, visible=None, *, train=False, key=None):
    """The encoder, compiled as a whole: operation by operation it takes minutes."""
    rngs = None if key is None else {"dropout": key}
    return Encoder(config).apply(params, x, visible, train=train, rngs=rngs)


@pytest.fixture(scope="module")
def params():
    """Of a model whose blocks matter: with scales as they are initialised they hardly do."""
    x = jnp.zeros((1, 1, 16, 16))
    init = jax.jit(Encoder(CONFIG).init)(jax.random.key(0), x)
    rng = np.random.default_rng(3)

    def shake(path, p):
        noise = rng.normal(size=p.shape).astype(np.float32)
        return p + (0.5 if path[-1].key == "scale" else 0.05 * noise)

    return jax.tree_util.tree_map_with_path(shake, init)


@pytest.fixture(scope="module")
def embed(params):
    jitted = jax.jit(
        functools.partial(embed_crops, CONFIG), static_argnames=("channelwise", "dtype")
    )
    return lambda x, **options: np.asarray(jitted(params, jnp.asarray(x), **options))


def test_patches_are_cut_channel_by_channel_row_by_row():
    image = images(2, 3, 16).astype(np.float32)
    patches = np.asarray(patchify(jnp.asarray(image), patch=8))
    assert patches.shape == (2, 3 * 4, 64)
    # Channel 1, second row, first column.
    np.testing.assert_array_equal(patches[1, 4 + 2], image[1, 1, 8:, :8].ravel())
    again = unpatchify(jnp.asarray(patches), channels=3, height=16, width=16)
    np.testing.assert_array_equal(again, image)


def test_every_channel_of_every_image_is_standardised():
    x = np.asarray(standardise_channels(jnp.asarray(images())))
    np.testing.assert_allclose(x.mean((2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.var((2, 3)), 1, atol=1e-3)
    flat = np.full((1, 1, 8, 8), 7, np.uint8)
    np.testing.assert_allclose(standardise_channels(jnp.asarray(flat)), 0, atol=1e-3)


@pytest.mark.parametrize("value", [1, 127, 254, 255])
@pytest.mark.parametrize("side", [64, 256])
def test_a_flat_channel_is_zero_however_bright(value, side):
    flat = jnp.full((2, 1, side, side), value, jnp.uint8)
    for run in (standardise_channels, jax.jit(standardise_channels)):
        np.testing.assert_allclose(run(flat), 0, atol=1e-6)


def test_a_bright_channel_of_little_contrast_keeps_its_digits():
    pixels = np.full((1, 1, 256, 256), 254, np.uint8)
    pixels[..., ::17, ::5] = 255
    x = pixels / 255.0
    exact = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    for run in (standardise_channels, jax.jit(standardise_channels)):
        np.testing.assert_allclose(run(jnp.asarray(pixels)), exact, rtol=2e-5)


def test_positions_are_sines_of_rows_then_of_columns():
    place = position_encoding(8, 2, 3)
    assert place.shape == (6, 8)
    # Patch 5 is row 1, column 2; the second frequency is 1/100.
    expected = [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)]
    expected += [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)]
    np.testing.assert_allclose(place[5], expected, rtol=1e-5)


def published_table(width, length, channels):
    """By the formula of Recursion's maes_microscopy (vit.py), without its class token."""
    rows = []
    for y in range(length):
        for x in range(length):
            angle = [1 / 10_000 ** (i / (width // 4)) for i in range(width // 4)]
            rows.append(
                [np.sin(y * a) for a in angle]
                + [np.cos(y * a) for a in angle]
                + [np.sin(x * a) for a in angle]
                + [np.cos(x * a) for a in angle]
            )
    return np.array(rows * channels)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (16, 16), (20, 20), (4, 10)])
def test_a_slice_is_that_of_the_published_table(rows, columns):
    # 11 channels of 256 patches; a crop of n tokens gets the first n rows.
    table = published_table(8, 16, 11)
    tokens = 5 * rows * columns
    at = {"patch": 16, "channels": 5, "rows": rows, "columns": columns}
    got = token_positions("slice", 8, **at)
    np.testing.assert_allclose(got, table[:tokens], atol=1e-6)
    same = np.allclose(got, token_positions("computed", 8, **at), atol=1e-6)
    assert same == ((rows, columns) == (16, 16))
    with pytest.raises(ValueError, match="computed or slice"):
        token_positions("interpolated", 8, **at)  # pyright: ignore[reportArgumentType]


def test_positions_of_a_slice_change_the_embedding_of_other_sizes_alone():
    config = EncoderConfig(16, 1, 2, 64)
    for side in (256, 128):
        x = jnp.asarray(np.random.default_rng(0).integers(0, 255, (1, 2, side, side)), jnp.uint8)
        params = jax.jit(Encoder(config).init)(jax.random.key(0), x)
        embeds = (
            jax.jit(functools.partial(embed_crops, config, positions=p))
            for p in ("computed", "slice")
        )
        ours, theirs = (embed(params, x) for embed in embeds)
        assert np.allclose(ours, theirs, atol=1e-6) == (side == 256)


def test_an_embedding_does_not_depend_on_its_neighbours(embed):
    x = images()
    np.testing.assert_allclose(embed(x)[1:2], embed(x[1:2]), atol=1e-5)


def test_a_change_of_brightness_and_contrast_changes_nothing(embed):
    x = images()[:1].astype(np.float32)
    np.testing.assert_allclose(embed(x), embed(x * 0.5 + 20), atol=5e-3)


@pytest.mark.parametrize(("channels", "size"), [(1, 40), (9, 16)])
def test_any_number_of_channels_and_any_size_of_whole_patches(embed, channels, size):
    x = images(2, channels, size)
    assert embed(x).shape == (2, 32)
    parts = embed(x, channelwise=True)
    assert parts.shape == (2, channels * 32)
    np.testing.assert_allclose(parts.reshape(2, channels, 32).mean(1), embed(x), atol=1e-5)


def test_the_order_of_channels_does_not_matter_for_the_mean(embed):
    x = images()
    np.testing.assert_allclose(embed(x), embed(x[:, ::-1]), atol=1e-5)


def test_a_size_that_patches_do_not_divide_is_an_error(embed):
    with pytest.raises(ValueError, match="20 × 20 pixels do not divide into patches of 8"):
        embed(images(1, 1, 20))


def test_hidden_patches_do_not_reach_the_tokens(params):
    x = np.array(standardise_channels(jnp.asarray(images(1, 2, 16))))
    visible = jnp.asarray([[0, 5, 6]])
    seen = np.asarray(encode(CONFIG, params, x.copy(), visible))
    x[0, 0, :8, 8:] = 9.0  # patch 1
    np.testing.assert_array_equal(encode(CONFIG, params, x.copy(), visible), seen)
    x[0, 1, :8, 8:] = 9.0  # patch 5
    assert not np.allclose(encode(CONFIG, params, x.copy(), visible), seen)


def test_drop_path_skips_blocks_in_training_only(params):
    config = EncoderConfig(width=32, depth=2, heads=2, patch=8, drop_path=0.9)
    x = standardise_channels(jnp.asarray(images(16, 1, 16)))
    np.testing.assert_allclose(encode(config, params, x), encode(CONFIG, params, x), atol=1e-6)
    shaken = encode(config, params, x, train=True, key=jax.random.key(1))
    # Only the last block may be skipped; nine of ten images then end with the first one's output.
    only_first = EncoderConfig(width=32, depth=1, heads=2, patch=8)
    rest = {k: v for k, v in params["params"].items() if k != "block_1"}
    first = encode(only_first, {"params": rest}, x)
    skipped = [np.allclose(a, b, atol=1e-5) for a, b in zip(shaken, first, strict=True)]
    assert 10 <= sum(skipped) <= 16


@pytest.mark.long
def test_remat_changes_no_number(params):
    config = EncoderConfig(width=32, depth=2, heads=2, patch=8, remat=True)
    x = standardise_channels(jnp.asarray(images(2, 1, 16)))

    def gradient(config):
        return jax.jit(jax.grad(lambda p: jnp.sum(Encoder(config).apply(p, x) ** 2)))(params)

    for a, b in zip(
        jax.tree.leaves(gradient(config)), jax.tree.leaves(gradient(CONFIG)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_half_precision_stays_close(params, embed):
    x = images()
    half = embed(x, dtype=jnp.bfloat16)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, embed(x), atol=0.15)


# OpenPhenom: 22,459,776 (docs/method.md §9: 21.4M without positions) less its fixed positions
# (1,081,728) and its unused norm (768). ViT-B and ViT-L with 8 × 8 patches, by hand: a block has
# in_norm, in_proj of width · 7 width, mlp_bias, two head norms, attn_out, mlp_out and scale.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("openphenom", 21_377_280),
        ("vit_b8", 12 * 7_085_056 + 65 * 768 + 768),
        ("vit_l8", 24 * 12_592_384 + 65 * 1024 + 1024),
    ],
)
def test_parameter_counts(name, count):
    x = jax.ShapeDtypeStruct((1, 2, 64, 64), jnp.float32)
    shapes = jax.eval_shape(Encoder(PRESETS[name].encoder).init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
