"""Converted weights give what timm's own blocks give (tests/golden/openphenom)."""

import functools
import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from molphenix_jax import cli
from molphenix_jax.models.conversion import EncoderFileError, read_state
from molphenix_jax.models.vit import MAE, PRESETS, Encoder, Mask, embed_crops, mae_loss
from molphenix_jax.models.vit.openphenom import convert
from molphenix_jax.models.vit.tokens import standardise_channels
from molphenix_jax.runtime.progress import console
from molphenix_jax.trained.encoders.image_encoder import load_image_encoder, read_image_encoder
from molphenix_jax.trained.folder import ModelError

pytestmark = pytest.mark.slow

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "openphenom"


def _weights():
    spec = importlib.util.spec_from_file_location("openphenom_weights", GOLDEN / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


weights = _weights()
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
embed = jax.jit(embed_crops, static_argnums=0, static_argnames="channelwise")


@pytest.fixture(scope="module")
def state():
    return weights.random_weights(weights.SMALL, seed=0)


@pytest.fixture(scope="module")
def converted(state):
    return convert(state)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "outputs.npz")


@pytest.fixture(scope="module")
def encoder(converted):
    config, params, _ = converted
    return config.encoder, {"params": params["params"]["encoder"]}


@pytest.mark.parametrize("case", ["images", pytest.param("more_channels", marks=pytest.mark.long)])
def test_tokens_and_embeddings_are_timms(encoder, golden, case):
    config, params = encoder
    images = jnp.asarray(golden[case])
    with jax.default_matmul_precision("float32"):
        tokens = jax.jit(Encoder(config).apply)(params, standardise_channels(images))
        np.testing.assert_allclose(tokens, golden[f"tokens_of_{case}"], **CLOSE)
        np.testing.assert_allclose(
            embed(config, params, images), golden[f"embedding_of_{case}"], **CLOSE
        )
        np.testing.assert_allclose(
            embed(config, params, images, channelwise=True),
            golden[f"channelwise_of_{case}"],
            **CLOSE,
        )


def test_hidden_patches_are_painted_as_by_timms_blocks(converted, golden):
    config, params, _ = converted
    order = golden["order"]
    restore = np.argsort(order, axis=1)
    keep = order.shape[1] // 4
    mask = Mask(jnp.asarray(order[:, :keep]), jnp.asarray(restore), jnp.asarray(restore >= keep))
    with jax.default_matmul_precision("float32"):
        r = jax.jit(MAE(config).apply)(params, jnp.asarray(golden["images"]), mask)
    np.testing.assert_allclose(r.predicted, golden["painted"], **CLOSE)
    loss, metrics = mae_loss(r, fourier_weight=0.0)
    np.testing.assert_allclose(loss, golden["mse_of_hidden"], rtol=1e-4)
    np.testing.assert_allclose(metrics["mse"], golden["mse_of_hidden"], rtol=1e-4)


@pytest.mark.parametrize("quirk", ["bias in the order of the split", "a final norm"])
def test_the_recorded_numbers_tell_the_two_porting_traps(encoder, golden, quirk):
    # The match above means something only if the obvious reading of the code would miss.
    config, params = encoder
    images = jnp.asarray(golden["images"])
    if quirk == "a final norm":
        tokens = np.asarray(jax.jit(Encoder(config).apply)(params, standardise_channels(images)))
        tokens = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True)
        found = tokens[:, 1:].mean(1)
    else:

        def turned(path, leaf):
            # Puts the bias where [mlp | q | k | v] reads it as [bias | zeros]: not expressible in
            # full, so the part that lands on q, k, v is taken away.
            if path[-1].key != "mlp_bias":
                return leaf
            return np.concatenate([leaf[: config.width], np.zeros(3 * config.width, np.float32)])

        found = embed(config, jax.tree_util.tree_map_with_path(turned, params), images)
    assert np.abs(np.asarray(found) - golden["embedding_of_images"]).max() > 1e-2


def test_openphenoms_shapes_fit_the_preset(monkeypatch):
    shapes = weights.shapes(weights.OPENPHENOM)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 178_045_568
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    s = weights.OPENPHENOM
    state["encoder.vit_backbone.pos_embed"] = weights.positions(s.width, s.grid, s.max_channels)
    state["decoder.pos_embeddings"] = weights.positions(s.decoder_width, s.grid, s.channels)
    config, params, unused = convert(state)
    assert config == PRESETS["openphenom"]
    fixed = sum(int(np.prod(shapes[name])) for name in unused)
    found = functools.partial(lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree)))
    assert found(params) + fixed == 178_045_568
    assert found(params["params"]["encoder"]) == 21_377_280
    assert sorted(name.split(".")[-1] for name in unused) == sorted(
        ["pos_embed", "weight", "bias", "placeholder", "pos_embeddings"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.weight": np.zeros(3)}, "entries that OpenPhenom has not: head.weight"),
        ({"encoder.vit_backbone.blocks.1.ls.gamma": None}, "need: encoder/block_1/scale"),
        ({"decoder.decoders.2.1.mlp.fc1.bias": None}, r"decoders/block_1/mlp/up/bias for channels"),
        ({"decoder_pred.weight": np.zeros((16, 63))}, r"predict/kernel: \(63, 16\), expected"),
        ({"decoder.mask_token": None}, "lacks: decoder.mask_token"),
        ({"encoder.vit_backbone.pos_embed": np.ones((1, 81, 32))}, "not the fixed sines"),
    ],
)
def test_whatever_does_not_fit_is_named(state, change, message):
    changed = {**state, **change}
    with pytest.raises(EncoderFileError, match=message):
        convert({name: value for name, value in changed.items() if value is not None})


def test_the_command_reads_true_safetensors(state, converted, tmp_path):
    save_file(dict(state), tmp_path / "model.safetensors")
    with console.capture() as said:
        status = cli.main(
            ["convert-openphenom", str(tmp_path / "model.safetensors"), f"--out={tmp_path / 'op'}"]
        )
    assert status == 0
    assert "fc_norm.weight" in said.get()
    config, params, source = read_image_encoder(tmp_path / "op")
    assert config == converted.config
    assert "OpenPhenom" in source
    jax.tree.map(np.testing.assert_array_equal, params, converted.params)
    loaded = load_image_encoder(tmp_path / "op")
    assert loaded.config == config.encoder
    jax.tree.map(
        np.testing.assert_array_equal, loaded.params["params"], params["params"]["encoder"]
    )


def test_a_torch_pickle_is_read_and_code_in_it_is_not_run(state, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.safetensors"
    torch.save({"state_dict": {n: torch.from_numpy(v) for n, v in state.items()}}, path)
    read = read_state(path)
    assert read.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(read[name], value)
    torch.save({"state_dict": {"a": pathlib.PurePosixPath("x")}}, path)
    with pytest.raises(EncoderFileError, match="arrays alone"):
        read_state(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(20), b"12345678{not json", b"just text, more than nine"]
)
def test_other_files_end_in_a_sentence(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(EncoderFileError, match=re.escape(str(path))):
        read_state(path)


def test_a_folder_without_an_encoder_says_what_to_give(tmp_path):
    folder = tmp_path / "fold_1" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").touch()
    with pytest.raises(ModelError, match=r"each of its folds 1: .*fold_1"):
        load_image_encoder(tmp_path)
