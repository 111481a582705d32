"""Coordinate check of muP: activations keep their size across widths, updates too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from molphenix_jax.models.mpnn import MoleculeEncoder, Readout, mup_lr_rules
from molphenix_jax.runtime.optimizer import _by_rule
from tests.models.mpnn.molecules import batch, config, molecule

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("cache")]

WIDTHS = (32, 256)
N_UPDATES = 3


def coordinates(width, *, mup):
    """Mean absolute change of each layer's activations after a few updates, and before them."""
    rng = np.random.default_rng(0)
    graphs = batch([molecule(n, rng) for n in (6, 9, 7, 11)], nodes=40, edges=90, n_graphs=5)
    target = jnp.asarray(rng.normal(size=(4, 3)).astype(np.float32))
    c = config(width=width, depth=1, out_width=width)
    model, head = MoleculeEncoder(c), Readout(3, c.width_ratio if mup else 1.0)
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "encoder": jax.jit(model.init)(keys[0], graphs),
        "head": head.init(keys[1], jnp.zeros((4, width))),
    }
    rules = mup_lr_rules(width) if mup else ()
    factors = _by_rule(params, rules, default=1.0)
    tx = optax.adam(1e-3)

    def forward(params):
        out = model.apply(params["encoder"], graphs)
        return out.layers, head.apply(params["head"], out.graphs[:4])

    @jax.jit
    def update(params, state):
        def loss(params):
            layers, answer = forward(params)
            return jnp.mean((answer - target) ** 2), (layers, answer)

        grads, seen = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state)
        updates = jax.tree.map(lambda u, f: u * f, updates, factors)
        return optax.apply_updates(params, updates), state, seen

    state, seen = tx.init(params), []
    for _ in range(N_UPDATES + 1):
        params, state, activations = update(params, state)
        seen.append(activations)
    first, last = seen[0], seen[-1]
    size = {name: float(jnp.abs(last[0][name][:4]).mean()) for name in last[0]}
    moved = {name: float(jnp.abs(last[0][name][:4] - first[0][name][:4]).mean()) for name in size}
    # Of the first update only: a few updates reach the target, and then the readout turns back.
    moved["readout"] = float(jnp.abs(seen[1][1] - first[1]).mean())
    return size, moved


def test_activations_and_their_updates_keep_their_size_across_widths():
    narrow, wide = (coordinates(width, mup=True) for width in WIDTHS)
    for size, other in zip(narrow, wide, strict=True):
        ratios = {name: other[name] / size[name] for name in size}
        assert all(0.5 < ratio < 2 for ratio in ratios.values()), ratios
    # Without it updates grow with the width: the check can tell.
    narrow, wide = (coordinates(width, mup=False)[1] for width in WIDTHS)
    assert wide["layer_0"] / narrow["layer_0"] > 1.6
    assert wide["readout"] / narrow["readout"] > 2
