"""`molphenix bench loss`: time and memory of each loss and execution.

Four questions, with targets at batch 8192 and width 512:

    chunked   value and gradient on one device: temporary memory at most 1/25 of dense, time at most
              1.1 of dense
    ring      on 8 devices: temporary memory per device at most 1/8 of the version that gathers all
              molecules on every device
    growth    16 times the batch needs at most 16 times the chunked memory (compiled, not run)
    torch     open_clip's SigLipLoss and a plain S2L in PyTorch, in the same run

Before the chunked losses were tuned, their floor was written down. In matrix products of 2·n²·d
FLOPs, dense value and gradient need three (logits, two gradients), and with w one more. A chunked
sigmoid or one-direction loss needs as many. A two-direction softmax needs the logits twice, four
against three: where products take all the time it cannot be below 4/3 of dense, and it is only
because it never writes an n × n array to memory. The note gives that product time, from a product
measured in the same run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from molphenix_jax.bench import allgather, torch_losses
from molphenix_jax.bench.measure import Row, interleaved_medians, temporary_mib
from molphenix_jax.losses import LOSSES, Loss, make_loss

SCALE, BIAS = 10.0, -5.0
RING = 8
GROWTH = (4096, 8192, 16384, 32768, 65536)
# Matrix products of n²·d multiplications: dense, and chunked. One with profiles counts as one.
PRODUCTS = {
    "clip": (3, 4),
    "dcl": (3, 4),
    "infoloob": (3, 4),
    "cwcl": (4, 4),
    "siglip": (3, 3),
    "s2l": (4, 4),
    "hopfield_clip": (30, 34),
    "cloome": (30, 34),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        batch: rows.
        width: of the embeddings.
        profile_width: of the frozen profiles.
        repeats: timed runs of each, taken in turn.
        names: losses.
    """

    batch: int = 8192
    width: int = 512
    profile_width: int = 384
    repeats: int = 5
    names: tuple[str, ...] = tuple(LOSSES)

    def target(self, ratio: float) -> float | None:
        """The targets were set for the default size; there is none at another."""
        return ratio if (self.batch, self.width) == (Setting.batch, Setting.width) else None


def run(setting: Setting) -> list[Row]:
    """All rows; takes minutes at the default size."""
    rows = [row for name in setting.names for row in chunked_rows(name, setting)]
    rows += [row for name in setting.names for row in ring_rows(name, setting)]
    rows += [growth_row(name, setting) for name in setting.names]
    return rows + torch_rows(setting)


def chunked_rows(name: str, setting: Setting) -> list[Row]:
    """Chunked against dense on one device: memory and time of value and gradient."""
    inputs = _inputs(setting)
    compiled = {
        execution: _compile(make_loss(name, execution=execution), inputs)
        for execution in ("dense", "chunked")
    }
    memory = {key: temporary_mib(each) for key, each in compiled.items()}
    a = jnp.ones((min(setting.batch, 4096), setting.width))
    product = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision="highest"))
    seconds = interleaved_medians(
        {
            "product": lambda: jax.block_until_ready(product(a, a)),
            **{key: _runner(each, inputs) for key, each in compiled.items()},
        },
        repeats=setting.repeats,
    )
    floor = seconds["product"] * (setting.batch / len(a)) ** 2
    dense, chunked = PRODUCTS[name]
    return [
        Row(
            f"{name} chunked memory, batch {setting.batch}",
            "MiB",
            memory["chunked"],
            memory["dense"],
            "dense",
            target=setting.target(1 / 25),
        ),
        Row(
            f"{name} chunked time, batch {setting.batch}",
            "s",
            seconds["chunked"],
            seconds["dense"],
            "dense",
            target=setting.target(1.1),
            note=f"products alone: {chunked * floor:.3g} s, dense {dense * floor:.3g} s",
        ),
    ]


def ring_rows(name: str, setting: Setting) -> list[Row]:
    """Memory per device of a ring, against gathering all columns on every device; compiled only."""
    case = f"{name} ring memory per device, {RING} devices, batch {setting.batch}"
    if jax.device_count() < RING:
        note = f"needs {RING} devices, this process has {jax.device_count()}"
        return [
            Row(case, "MiB", None, other_name="all-gather", target=setting.target(1 / 8), note=note)
        ]
    mesh = jax.make_mesh(
        (RING,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:RING]
    )
    inputs = _shapes(setting, setting.batch, mesh)
    ring = _compile(make_loss(name, execution="ring", mesh=mesh), inputs)
    gathered = _compile(allgather.make_loss(name, mesh=mesh), inputs)
    assert "all-gather" in gathered.as_text()
    assert "all-gather" not in ring.as_text()
    return [
        Row(
            case,
            "MiB",
            temporary_mib(ring),
            temporary_mib(gathered),
            "all-gather",
            target=setting.target(1 / 8),
        )
    ]


def growth_row(name: str, setting: Setting) -> Row:
    """Chunked memory at the largest batch against the smallest; compiled, not run."""
    memory = {
        n: temporary_mib(_compile(make_loss(name, execution="chunked"), _shapes(setting, n)))
        for n in GROWTH
    }
    return Row(
        f"{name} chunked memory, batch {GROWTH[-1]}",
        "MiB",
        memory[GROWTH[-1]],
        memory[GROWTH[0]],
        f"batch {GROWTH[0]}",
        target=GROWTH[-1] / GROWTH[0],
        note=", ".join(f"{n}: {mib:.3g}" for n, mib in memory.items()),
    )


def torch_rows(setting: Setting) -> list[Row]:
    """Our fastest execution against PyTorch, value and gradient on the same arrays."""
    rows = []
    for name in ("siglip", "s2l"):
        if name not in setting.names:
            continue
        case = f"{name} value and gradient, batch {setting.batch}"
        inputs = _inputs(setting)
        other, label = torch_losses.value_and_grad(
            name, *(np.asarray(each) for each in inputs), scale=SCALE, bias=BIAS
        )
        if other is None:
            rows.append(Row(case, "s", None, other_name="PyTorch", note=label))
            continue
        compiled = _compile(make_loss(name, execution="chunked"), inputs)
        ours, theirs = compiled(*inputs)[0], other()
        if abs(float(ours) - theirs) > 1e-3 * abs(theirs):
            raise RuntimeError(f"{name}: ours is {float(ours)}, {label} is {theirs}")
        seconds = interleaved_medians(
            {"ours": _runner(compiled, inputs), "other": other}, repeats=setting.repeats
        )
        rows.append(Row(case, "s", seconds["ours"], seconds["other"], label))
    return rows


def _compile(loss: Loss | Callable[..., Any], inputs: Sequence[Any]) -> Any:
    def value(z_x, z_m, scale, bias, profile, null_constant):
        return loss(z_x, z_m, scale=scale, bias=bias, profile=profile, null_constant=null_constant)[
            0
        ]

    def step(z_x, z_m, profile, null_constant):
        return jax.value_and_grad(value, argnums=(0, 1, 2, 3))(
            z_x, z_m, jnp.float32(SCALE), jnp.float32(BIAS), profile, null_constant
        )

    return jax.jit(step).lower(*inputs).compile()


def _runner(compiled: Any, inputs: Sequence[Any]) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(compiled(*inputs))


def _inputs(setting: Setting) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)

    def unit() -> jax.Array:
        z = rng.normal(size=(setting.batch, setting.width)).astype(np.float32)
        return jnp.asarray(z / np.linalg.norm(z, axis=1, keepdims=True))

    profile = rng.normal(size=(setting.batch, setting.profile_width)).astype(np.float32)
    # Independent normal profiles lie at about 2p of each other: some pairs must be similar.
    profile[1::2] = profile[::2][: len(profile[1::2])] + 0.2 * profile[1::2]
    return unit(), unit(), jnp.asarray(profile), jnp.float32(2.0 * setting.profile_width)


def _shapes(setting: Setting, n: int, mesh: jax.sharding.Mesh | None = None) -> tuple[Any, ...]:
    split = NamedSharding(mesh, PartitionSpec("data")) if mesh else None

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.float32, sharding=split if sizes else None)

    d = setting.width
    return shape(n, d), shape(n, d), shape(n, setting.profile_width), shape()
