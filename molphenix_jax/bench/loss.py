"""`molphenix bench loss`: time and memory of each loss and execution.

Four questions, with targets at batch 8192 and width 512:

    chunked   value and gradient on one device: temporary memory at most 1/25 of dense, time at most
              1.1 of dense
    ring      on 8 devices: temporary memory per device at most 1/8 of the version that gathers all
              molecules on every device
    growth    16 times the batch needs at most 16 times the chunked memory (compiled, not run)
    torch     open_clip's SigLipLoss and a plain S2L in PyTorch, in the same run
    rate      TFLOP/s that the chunked loss reaches, beside a bf16 product measured in the same run

With several batches (a GPU takes 262,144) the first and the last are repeated for each; where a
device has not the memory that the compiler says dense needs, it is said and the dense time is left
out.

In matrix products of 2·n²·d FLOPs, dense value and gradient need three (logits, two gradients), and
with w one more. A chunked sigmoid or one-direction loss needs as many. A two-direction softmax
needs the logits twice, four against three; it comes near dense only because it never writes an
n × n array to memory. The Hopfield losses have thirty either way: what the chunked ones compute
again in the backward pass, their own recall saves by visiting each pair once (`losses.recall`). The
note gives that product time, from a product measured in the same run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from molphenix_jax.bench.compared import allgather, torch_losses
from molphenix_jax.bench.measure import (
    RATE,
    Row,
    device_memory_gib,
    interleaved_medians,
    matmul,
    pairs_gib,
    temporary_mib,
)
from molphenix_jax.losses import LOSSES, Loss, make_loss

SCALE, BIAS = 10.0, -5.0
RING = 8
_PRODUCT_SIDE = 2048
GROWTH = (4096, 8192, 16384, 32768, 65536)
# Matrix products of embeddings, n²·d multiplications each: dense, and chunked. A loss that compares
# profiles has one of n²·p more.
PRODUCTS = {
    "clip": (3, 4),
    "dcl": (3, 4),
    "infoloob": (3, 4),
    "cwcl": (3, 3),
    "siglip": (3, 3),
    "s2l": (3, 3),
    "hopfield_clip": (30, 30),
    "cloome": (30, 30),
}


@dataclasses.dataclass(frozen=True)
class LossCase:
    """What is measured.

    Attributes:
        batch: rows.
        width: of the embeddings.
        profile_width: of the frozen profiles.
        repeats: timed runs of each, taken in turn.
        names: losses.
        dtype: of the embeddings.
    """

    batch: int = 8192
    width: int = 512
    profile_width: int = 384
    repeats: int = 5
    names: tuple[str, ...] = tuple(LOSSES)
    dtype: str = "float32"

    def target(self, ratio: float) -> float | None:
        """The targets were set for the default size; there is none at another."""
        size = (self.batch, self.width, self.dtype)
        return ratio if size == (LossCase.batch, LossCase.width, LossCase.dtype) else None

    def tflop(self, name: str) -> tuple[float, float]:
        """Of the matrix products of value and gradient, dense and chunked, in 10¹² operations."""
        similarity = self.profile_width if LOSSES[name].compares_w else 0
        dense, chunked = (n * self.width + similarity for n in PRODUCTS[name])
        return 2 * self.batch**2 * dense / 1e12, 2 * self.batch**2 * chunked / 1e12


def run(setting: LossCase, *, batches: Sequence[int] = ()) -> list[Row]:
    """All rows; takes minutes at the default size.

    Args:
        setting: of the rows that are taken once.
        batches: sizes for the rows of the chunked loss; none takes the setting's.
    """
    rows = []
    for batch in batches or (setting.batch,):
        at = dataclasses.replace(setting, batch=batch)
        rows += [row for name in setting.names for row in chunked_rows(name, at)]
    rows += [row for name in setting.names for row in ring_rows(name, setting)]
    rows += [growth_row(name, setting) for name in setting.names]
    return rows + torch_rows(setting)


Programs = dict[str, Any]


def programs(name: str, setting: LossCase) -> Programs:
    """Value and gradient of a loss, compiled dense, where it fits, and chunked."""
    shapes = _shapes(setting, setting.batch)
    # A compiler that tries its products out needs their memory, and ends where there is none.
    fits = pairs_gib(setting.batch) < 0.5 * device_memory_gib()
    return {
        execution: _compile(make_loss(name, execution=execution), shapes)
        for execution in ("dense", "chunked")[not fits :]
    }


def chunked_rows(name: str, setting: LossCase, compiled: Programs | None = None) -> list[Row]:
    """Chunked against dense on one device: memory, time and rate of value and gradient.

    Args:
        name: Of the loss.
        setting: What is measured.
        compiled: Its `programs`, where they are there already.
    """
    compiled = dict(compiled or programs(name, setting))
    memory = {key: temporary_mib(each) for key, each in compiled.items()}
    has_gib, note = device_memory_gib(), ""
    if "dense" not in compiled:
        each = pairs_gib(setting.batch)
        note = f"dense is not run: every array of pairs takes {each:.3g} of {has_gib:.3g} GiB; "
    elif memory["dense"] / 1024 > 0.8 * has_gib:
        note = f"dense is not run: it needs {memory['dense'] / 1024:.3g} of {has_gib:.3g} GiB; "
        del compiled["dense"]

    inputs = _inputs(setting)
    product, product_tflop = matmul(_PRODUCT_SIDE, jnp.dtype(setting.dtype))
    half, half_tflop = matmul(_PRODUCT_SIDE, jnp.dtype("bfloat16"))
    seconds = interleaved_medians(
        {
            "product": product,
            "half": half,
            **{key: _runner(each, inputs) for key, each in compiled.items()},
        },
        repeats=setting.repeats,
    )
    dense, chunked = setting.tflop(name)
    rate = product_tflop / seconds["product"]
    case = f"batch {setting.batch}"
    if setting.dtype != LossCase.dtype:
        case += f", {setting.dtype}"
    return [
        Row(
            f"{name} chunked memory, {case}",
            "MiB",
            memory["chunked"],
            memory.get("dense"),
            "dense",
            target=setting.target(1 / 25),
        ),
        Row(
            f"{name} chunked time, {case}",
            "s",
            seconds["chunked"],
            seconds.get("dense"),
            "dense",
            target=setting.target(1.1),
            note=f"{note}products alone, {setting.dtype}: {chunked / rate:.3g} s, "
            f"dense {dense / rate:.3g} s",
        ),
        Row(
            f"{name} chunked products, {case}",
            RATE,
            chunked / seconds["chunked"],
            half_tflop / seconds["half"],
            "bf16 product",
        ),
    ]


def ring_rows(name: str, setting: LossCase) -> list[Row]:
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
    gathered = _compile(allgather.make_partitioned_loss(name, mesh=mesh), inputs)
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


def growth_row(name: str, setting: LossCase) -> Row:
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


def torch_rows(setting: LossCase) -> list[Row]:
    """Our fastest execution against PyTorch, value and gradient on the same arrays."""
    rows = []
    for name in ("siglip", "s2l"):
        if name not in setting.names:
            continue
        case = f"{name} value and gradient, batch {setting.batch}"
        if setting.dtype != LossCase.dtype:
            note = f"PyTorch is compared in {LossCase.dtype} only"
            rows.append(Row(case, "s", None, other_name="PyTorch", note=note))
            continue
        inputs = _inputs(setting)
        other, label = _in_torch(name, inputs)
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


def open_clip_rows(setting: LossCase, *, chunk_size: int = 4096) -> list[Row]:
    """SigLIP chunked here beside open_clip's whole loss and the one in its own chunks.

    Memory is compared on a GPU, where PyTorch tells its peak.
    """
    inputs, rows = _inputs(setting), []
    compiled = _compile(make_loss("siglip", execution="chunked"), inputs)
    for size in (0, chunk_size):
        how = f"in chunks of {size}" if size else "whole"
        case = f"siglip value and gradient, batch {setting.batch}, open_clip's {how}"
        other, label = _in_torch("siglip", inputs, chunk_size=size)
        if other is None:
            rows.append(Row(case, "s", None, other_name="open_clip", note=label))
            continue
        try:
            peak = torch_losses.peak_mib(other)
            seconds = interleaved_medians(
                {"ours": _runner(compiled, inputs), "other": other}, repeats=setting.repeats
            )
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if "memory" not in str(error).lower():
                raise
            error.__traceback__ = None  # its frames hold what was allocated
            torch_losses.give_back_memory()
            seconds = interleaved_medians(
                {"ours": _runner(compiled, inputs)}, repeats=setting.repeats
            )
            note = f"{label} has not the memory"
            rows.append(Row(case, "s", seconds["ours"], other_name="open_clip", note=note))
            continue
        rows.append(Row(case, "s", seconds["ours"], seconds["other"], label))
        if peak is not None:
            rows.append(Row(f"{case}, memory", "MiB", temporary_mib(compiled), peak, label))
    return rows


def _in_torch(
    name: str, inputs: Sequence[jax.Array], *, chunk_size: int = 0
) -> tuple[Callable[[], float] | None, str]:
    """The loss of the same arrays in PyTorch; see `pytorch.losses.value_and_grad`."""
    return torch_losses.value_and_grad(
        name,
        *(np.asarray(each, np.float32) for each in inputs),
        scale=SCALE,
        bias=BIAS,
        chunk_size=chunk_size,
    )


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


def _inputs(setting: LossCase) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)

    def unit() -> jax.Array:
        z = rng.normal(size=(setting.batch, setting.width)).astype(np.float32)
        return jnp.asarray(z / np.linalg.norm(z, axis=1, keepdims=True), setting.dtype)

    profile = rng.normal(size=(setting.batch, setting.profile_width)).astype(np.float32)
    # Independent normal profiles lie at about 2p of each other: some pairs must be similar.
    profile[1::2] = profile[::2][: len(profile[1::2])] + 0.2 * profile[1::2]
    return unit(), unit(), jnp.asarray(profile), jnp.float32(2.0 * setting.profile_width)


def _shapes(setting: LossCase, n: int, mesh: jax.sharding.Mesh | None = None) -> tuple[Any, ...]:
    split = NamedSharding(mesh, PartitionSpec("data")) if mesh else None

    def shape(*sizes: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.dtype(dtype), sharding=split if sizes else None)

    z = shape(n, setting.width, dtype=setting.dtype)
    return z, z, shape(n, setting.profile_width), shape()
