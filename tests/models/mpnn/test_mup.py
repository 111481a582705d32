"""Coordinate check of muP: activations keep their size across widths, updates too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from molphenix_jax.models.mpnn import MoleculeEncoder, Readout, mup_lr_rules
from molphenix_jax.runtime.optimizer import _by_rule
from tests.models.mpnn.molecules import batch, config, molecule

WIDTHS = (32, 64, 128)
N_UPDATES = 4


def coordinates(width, *, mup):
    """Mean absolute change of each layer's activations after a few updates, and before them."""
    rng = np.random.default_rng(0)
    graphs = batch([molecule(n, rng) for n in (6, 9, 7, 11)], nodes=40, edges=90, n_graphs=5)
    target = jnp.asarray(rng.normal(size=(4, 3)).astype(np.float32))
    c = config(width=width, depth=2, out_width=width, attention_heads=width // 16)
    model, head = MoleculeEncoder(c), Readout(3, c.width_ratio if mup else 1.0)
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "encoder": model.init(keys[0], graphs),
        "head": head.init(keys[1], jnp.zeros((4, width))),
    }
    rules = mup_lr_rules(width) if mup else ()
    factors = _by_rule(params, rules, default=1.0)
    tx = optax.adam(1e-2)

    def forward(params):
        out = model.apply(params["encoder"], graphs)
        return out.layers, head.apply(params["head"], out.graphs[:4])

    @jax.jit
    def update(params, state):
        loss = lambda p: jnp.mean((forward(p)[1] - target) ** 2)  # noqa: E731
        updates, state = tx.update(jax.grad(loss)(params), state)
        updates = jax.tree.map(lambda u, f: u * f, updates, factors)
        return optax.apply_updates(params, updates), state

    first = jax.jit(forward)(params)
    state = tx.init(params)
    for _ in range(N_UPDATES):
        params, state = update(params, state)
    last = jax.jit(forward)(params)
    size = {name: float(jnp.abs(last[0][name][:4]).mean()) for name in last[0]}
    moved = {name: float(jnp.abs(last[0][name][:4] - first[0][name][:4]).mean()) for name in size}
    moved["readout"] = float(jnp.abs(last[1] - first[1]).mean())
    return size, moved


@pytest.mark.slow
def test_activations_and_their_updates_keep_their_size_across_widths():
    with_mup = [coordinates(width, mup=True) for width in WIDTHS]
    for name in with_mup[0][0]:
        sizes = [size[name] for size, _ in with_mup]
        assert max(sizes) / min(sizes) < 2, (name, sizes)
    for name in with_mup[0][1]:
        moves = [moved[name] for _, moved in with_mup]
        assert max(moves) / min(moves) < 2.5, (name, moves)
    # Without it the updates grow with the width: the check can tell.
    plain = [coordinates(width, mup=False)[1] for width in (WIDTHS[0], WIDTHS[-1])]
    assert plain[1]["readout"] / plain[0]["readout"] > 2
