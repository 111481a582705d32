"""One layer against graphium's own, on golden arrays (tests/golden/graphium_mpnn_plus.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models.mpnn import Features, GraphsTuple, Layer, MessagePassing, MPNNConfig
from molphenix_jax.models.mpnn.graphs import topology

pytestmark = pytest.mark.slow

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "graphium_mpnn_plus.npz"
CONFIG = MPNNConfig(node_codes=(1,), edge_codes=(1,), width=16, depth=1, out_width=8)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


def inputs(golden):
    graphs = GraphsTuple(
        nodes=golden["nodes"],
        edges=golden["edges"],
        senders=golden["senders"],
        receivers=golden["receivers"],
        n_node=golden["n_node"],
        n_edge=golden["n_edge"],
        globals=None,
    )
    return Features(jnp.asarray(golden["nodes"]), jnp.asarray(golden["edges"]), None), topology(
        graphs
    )


class Weights:
    """Reads PyTorch's weights under a prefix; counts what was taken."""

    def __init__(self, golden, prefix):
        self.prefix = f"{prefix}/weights/"
        self.left = {
            name.removeprefix(self.prefix): value
            for name, value in golden.items()
            if name.startswith(self.prefix)
        }

    def dense(self, name):
        return {
            "kernel": self.left.pop(f"{name}.weight").T,
            "bias": self.left.pop(f"{name}.bias"),
        }

    def norm(self, name):
        return {"scale": self.left.pop(f"{name}.weight"), "bias": self.left.pop(f"{name}.bias")}

    def mlp(self, name, *, norm):
        first = f"{name}.fully_connected.0"
        weights = {
            "hidden": self.dense(f"{first}.linear"),
            "out": self.dense(f"{name}.fully_connected.1.linear"),
        }
        if norm:
            weights["norm"] = {"norm": self.norm(f"{first}.normalization")}
        return weights

    def message_passing(self, prefix=""):
        return {
            "edge_model": self.mlp(f"{prefix}edge_model", norm=True),
            "node_model": self.mlp(f"{prefix}node_model", norm=True),
        }


@pytest.mark.slow
def test_message_passing_is_graphiums_mpnnpluspyg(golden):
    x, t = inputs(golden)
    weights = Weights(golden, "mpnn")
    params = {"params": weights.message_passing()}
    out = jax.jit(lambda x: MessagePassing(CONFIG).apply(params, x, t, train=False))(x)
    np.testing.assert_allclose(out.nodes, golden["mpnn/out/nodes"], atol=1e-5)
    np.testing.assert_allclose(out.edges, golden["mpnn/out/edges"], atol=1e-5)
    # A norm that graphium makes for all its layers and this one does not use.
    assert set(weights.left) == {"norm_layer.weight", "norm_layer.bias"}


def test_layer_is_graphiums_gpslayerpyg_without_attention(golden):
    x, t = inputs(golden)
    weights = Weights(golden, "gps")
    params = {
        "mpnn": weights.message_passing("mpnn."),
        "norm_local": {"norm": weights.norm("norm_layer_local")},
        "feed_forward": weights.mlp("mlp", norm=False),
        "out": weights.dense("f_out.linear"),
        "norm_out": weights.norm("f_out.normalization"),
    }
    layer = Layer(CONFIG, residual=False)
    out = jax.jit(lambda x: layer.apply({"params": params}, x, t, None, False))(x)
    np.testing.assert_allclose(out.nodes, golden["gps/out/nodes"], atol=1e-5)
    np.testing.assert_allclose(out.edges, golden["gps/out/edges"], atol=1e-5)
    unused = {name.rsplit(".", 1)[0] for name in weights.left}
    assert unused == {"norm_layer", "norm_layer_attn", "norm_layer_ff", "mpnn.norm_layer"}


def test_the_layers_residuals_add_what_came_in(golden):
    x, t = inputs(golden)
    layer = Layer(CONFIG, residual=False)

    @jax.jit
    def both(x):
        params = layer.init({"params": jax.random.key(0)}, x, t, None, False)
        return [of.apply(params, x, t, None, False) for of in (layer, Layer(CONFIG))]

    plain, added = both(x)
    np.testing.assert_allclose(added.nodes, plain.nodes + x.nodes, rtol=1e-6)
    np.testing.assert_allclose(added.edges, plain.edges + x.edges, rtol=1e-6)
