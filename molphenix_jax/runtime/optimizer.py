"""What turns gradients into updates: the fields of `config.train`, their check, the optax chain.

Every task has the same `train` fields (`train_fields`) and the same check of them
(`train_problems`), since all go through one loop.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from molphenix_jax.runtime.config import Config, ConfigError, pair_problems

Params = Any

OPTIMIZERS = ("adamw", "adam", "lion")
SCHEDULES = ("cosine", "linear", "onecycle", "constant")


def train_fields(*, steps: int, batch_size: int, learning_rate: float, members: int = 1) -> Config:
    """The `train` part of a config with its defaults; a task changes what it wants otherwise."""
    t = ml_collections.ConfigDict()
    t.steps = steps
    t.batch_size = batch_size
    t.members = members  # independent models trained side by side
    t.devices = 0  # 0: all
    # At most so many updates are started by the host at once, 16 or 64 MiB of batches in any case;
    # 0: one on a CPU, as many as there is room for elsewhere. Changes no bit of a result.
    t.steps_per_dispatch = 0
    t.prefetch = 2  # batches read ahead in threads; 0 reads when the loop asks
    t.compute_dtype = "float32"  # float32 | bfloat16; the loss is float32 in any case
    t.optimizer = "adamw"  # adamw | adam (no decay) | lion
    t.learning_rate = learning_rate
    # Shape after the warm-up: cosine or linear to zero, onecycle (cosine up and down), constant.
    t.schedule = "cosine"
    t.warmup_steps = steps // 10
    t.b1 = 0.9
    t.b2 = 0.999
    t.weight_decay = 0.1
    # First rule that matches decides; every parameter has to match one.
    t.decay_rules = ((r"/kernel$", True), (r"/(bias|scale|log_scale)$", False))
    # Pattern → factor on the learning rate, first match; a parameter that none matches has 1.
    t.lr_rules = ()
    t.grad_clip = 1.0
    t.log_every = max(steps // 15, 1)
    t.validate_every = max(steps // 6, 1)
    t.checkpoint_every = max(steps // 3, 1)
    t.keep_checkpoints = 3
    return t


def train_problems(t: Config) -> list[str]:
    """What is wrong with the `train` fields, one sentence each."""
    wrong = [
        f"train.{field}={t[field]!r}: must be at least 1"
        for field in (
            "steps",
            "batch_size",
            "members",
            "log_every",
            "validate_every",
            "checkpoint_every",
            "keep_checkpoints",
        )
        if t[field] < 1
    ]
    wrong += [
        f"train.{field}={t[field]!r}: must not be negative"
        for field in ("devices", "steps_per_dispatch", "prefetch", "warmup_steps")
        if t[field] < 0
    ]
    for field, known in (
        ("compute_dtype", ("float32", "bfloat16")),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
    ):
        if t[field] not in known:
            wrong.append(f"train.{field}={t[field]!r}: choose one of {', '.join(known)}")
    if t.warmup_steps >= t.steps:
        wrong.append(f"train.warmup_steps={t.warmup_steps} must be below train.steps={t.steps}")
    if t.schedule == "onecycle" and t.warmup_steps < 1:
        wrong.append("train.schedule=onecycle needs train.warmup_steps of at least 1")
    if t.learning_rate <= 0:
        wrong.append(f"train.learning_rate={t.learning_rate!r}: must be positive")
    for field in ("b1", "b2"):
        if not 0 <= t[field] < 1:
            wrong.append(f"train.{field}={t[field]!r}: must be at least 0 and below 1")
    if t.weight_decay < 0:
        wrong.append(f"train.weight_decay={t.weight_decay!r}: must not be negative")
    if t.grad_clip <= 0:
        wrong.append(f"train.grad_clip={t.grad_clip!r}: must be positive")
    malformed = pair_problems("train.decay_rules", t.decay_rules, bool)
    malformed += pair_problems("train.lr_rules", t.lr_rules, (int, float))
    if malformed:
        return wrong + malformed
    wrong += [
        f"train.lr_rules: the factor of {pattern!r} is {factor!r}; must be positive"
        for pattern, factor in t.lr_rules
        if factor <= 0
    ]
    return wrong


def make_optimizer(t: Config, params: Params) -> optax.GradientTransformation:
    """Gradient clip, then the optimizer with its schedule, decay and learning-rate rules.

    Args:
        t: `config.train`.
        params: Parameters of one member, or their shapes.

    Raises:
        ConfigError: A parameter that no decay rule covers.
    """
    schedule = _schedule(t)
    mask = decay_mask(params, t.decay_rules)
    if t.optimizer == "adamw":
        core = optax.adamw(schedule, b1=t.b1, b2=t.b2, weight_decay=t.weight_decay, mask=mask)
    elif t.optimizer == "lion":
        core = optax.lion(schedule, b1=t.b1, b2=t.b2, weight_decay=t.weight_decay, mask=mask)
    else:
        core = optax.adam(schedule, b1=t.b1, b2=t.b2)
    parts = [clip_by_norm(t.grad_clip), core]
    if t.lr_rules:
        factors = _by_rule(params, t.lr_rules, default=1.0)
        parts.append(
            optax.stateless(lambda updates, _: jax.tree.map(lambda u, f: u * f, updates, factors))
        )
    return optax.chain(*parts)


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, as one factor for all gradients.

    Optax divides each element by the norm, and squares each to find it. On CPUs XLA writes both
    results to memory, for division is too dear to do again in each of the three places that read a
    clipped gradient; with `square` and one factor neither is written, which saves a sixth of a
    step at the paper's size.
    """

    def clip(updates: Params, _: Params) -> Params:
        norm = global_norm(updates)
        factor = jnp.where(norm > max_norm, max_norm / norm, 1.0)
        return jax.tree.map(lambda u: u * factor, updates)

    return optax.stateless(clip)


def global_norm(tree: Params) -> jax.Array:
    """Euclidean length of all leaves together."""
    return jnp.sqrt(sum(square(leaf) for leaf in jax.tree.leaves(tree)))


def square(leaf: jax.Array) -> jax.Array:
    """Sum of squares in float32; not finite where an element is not, or is beyond 1e19.

    As a product with ones, which XLA computes in one pass over the leaf, in all threads, with many
    partial sums: on CPUs ten times as fast as a sum or `jnp.vdot`, and nearer to the exact value
    than the latter, which is off by .4% for four million numbers.
    """
    leaf = jnp.atleast_1d(leaf.astype(jnp.float32))
    ones = jnp.ones(leaf.shape[-1])
    return jnp.sum(jnp.matmul(leaf * leaf, ones, precision=jax.lax.Precision.HIGHEST))


def decay_mask(params: Params, rules: Sequence[tuple[str, bool]]) -> Params:
    """Which parameters decay: for each the first rule whose pattern is found in its path.

    Raises:
        ConfigError: A parameter that no rule covers.
    """
    return jax.tree.map(bool, _by_rule(params, rules))


def _by_rule(params: Params, rules: Sequence[tuple[str, Any]], default: Any = None) -> Params:
    def decide(path: Any, _: Any) -> Any:
        name = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, value in rules:
            if re.search(pattern, name):
                return value
        if default is None:
            raise ConfigError(f"train.decay_rules: no rule covers the parameter {name}")
        return default

    return jax.tree_util.tree_map_with_path(decide, params)


def learning_rate(t: Config, step: int) -> float:
    """The learning rate of the update after `step` updates, of a parameter without a rule."""
    return float(_schedule(t)(step))


def _schedule(t: Config) -> Callable[[Any], Any]:
    if t.schedule == "onecycle":
        return optax.cosine_onecycle_schedule(
            t.steps, t.learning_rate, pct_start=t.warmup_steps / t.steps
        )
    if t.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, t.learning_rate, t.warmup_steps, t.steps)
    end = 0.0 if t.schedule == "linear" else t.learning_rate
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, t.learning_rate, t.warmup_steps),
            optax.linear_schedule(t.learning_rate, end, t.steps - t.warmup_steps),
        ],
        [t.warmup_steps],
    )
