"""`molphenix bench step`: our training step beside the same model in plain PyTorch.

The step is the one that training runs (`runtime/step.py` on `tasks/align/training/run.py`), on a
screen of random numbers in the paper's shapes: what the numbers are changes no time. Both sides
start from the same weights and must first agree on the loss of two updates, without dropout; then
both are timed with it.

Floor. A Dense layer of k × m weights takes three products of 2·b·k·m FLOPs (output, two gradients),
the first of a tower two, since its input needs no gradient. With 38.7M parameters and b = 512 these
are 0.11 TFLOP. AdamW reads gradient, weight and two moments and writes three of them back, and the
clip reads the gradient before: 8 · 4 bytes for each parameter, 1.2 GB. Neither hides behind the
other, as the update needs the last gradient: floor = FLOPs / matmul rate + bytes / bandwidth, both
rates measured in the same rounds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from molphenix_jax.bench.compared import torch_losses, torch_step
from molphenix_jax.bench.made.random_run import random_run
from molphenix_jax.bench.measure import (
    MIB,
    RATE,
    Row,
    device_memory_gib,
    held_mib,
    interleaved_medians,
    matmul,
    pairs_gib,
)
from molphenix_jax.errors import first_line
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.optimizer import decay_mask, optimizer_of
from molphenix_jax.runtime.step import (
    ROOM_STEPS,
    State,
    count_parameters,
    jit_steps,
    make_init,
    make_step,
    make_steps,
)
from molphenix_jax.tasks.align.config import default_config, loss_options
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.trained.scaling import CLIP_SD

# Gradient, weight and two moments read, three of them written; the gradient once more for its norm.
OPTIMIZER_PASSES = 8
RTOL = 1e-3
_LARGE = 8192  # rows, from which on a GPU is asked to be busy
_ARRAYS = 10  # of all pairs that PyTorch holds at once, at least
_DENSE = 16_384  # rows, beyond which all pairs at once take gigabytes


@dataclasses.dataclass(frozen=True)
class StepCase:
    """What is measured.

    Attributes:
        batch: pairs in a step.
        size: preset of the heads' sizes, see `align.config.SIZES`.
        dtype: of the towers' products.
        profile_width: of the phenomic embeddings.
        repeats: timed rounds.
        matmul: side of the square product whose rate is the measure.
    """

    batch: int = 512
    size: str = "paper"
    dtype: str = "float32"
    profile_width: int = 1024
    repeats: int = 5
    matmul: int = 2048

    def target(self, *, small: float | None = None, large: float | None = None) -> float | None:
        """Targets of the paper's size: at batch 512, and from batch 8,192 on; none elsewhere."""
        if self.size != StepCase.size:
            return None
        return small if self.batch == StepCase.batch else large if self.batch >= _LARGE else None


def run(setting: StepCase, *, check: bool = True) -> list[Row]:
    """All rows of one batch size; minutes at the paper's size on a CPU.

    Args:
        setting: What is measured.
        check: That both sides give the same losses, at a batch of hundreds: PyTorch's, all pairs at
            once, might not fit at more.
    """
    if check:
        with contextlib.suppress(ImportError):  # said in the rows
            small = min(setting.batch, StepCase.batch)
            check_same_losses(dataclasses.replace(setting, batch=small))
    config = make_config(setting)
    run = make_run(setting, config)
    # As training does: on a CPU a dispatch is one update.
    updates = 1 if jax.default_backend() == "cpu" else ROOM_STEPS
    with ThreadPoolExecutor(1) as pool:  # two compilers at once: minutes of a lent device
        our = pool.submit(Ours, run, config, updates)
        eager, eager_label = _torch(run, config, updates, compiled=False)
        compiled, compiled_label = _torch(run, config, updates, compiled=True)
        ours = our.result()
    memory = ours.memory_mib()

    product, product_tflop = matmul(setting.matmul, jnp.dtype(setting.dtype))
    # On a GPU large enough that its start is no part of it.
    smallest = 2**24 if jax.default_backend() == "cpu" else 2**28
    stream, stream_gb = _stream(max(count_parameters(ours.state.params), smallest))
    sides: dict[str, Callable[[], Any] | None] = {"eager": eager, "compiled": compiled}
    timed = {name: side for name, side in sides.items() if side is not None}
    seconds = interleaved_medians(
        {"ours": ours, "product": product, "stream": stream, **timed}, repeats=setting.repeats
    )

    seconds |= {name: seconds[name] / updates for name in ("ours", *timed)}
    rate = product_tflop / seconds["product"]
    bandwidth = stream_gb / seconds["stream"]
    tflop = step_tflop(ours.state.params, run, config)
    gb = OPTIMIZER_PASSES * 4 * count_parameters(ours.state.params) / 1e9
    floor = tflop / rate + gb / bandwidth
    case = f"step, {setting.size}, batch {setting.batch}, {setting.dtype}"
    arithmetic = (
        f"{tflop:.3g} TFLOP at {rate:.3g} TFLOP/s ({setting.dtype} product of {setting.matmul}²) "
        f"and {gb:.3g} GB of optimizer at {bandwidth:.3g} GB/s"
    )
    rows = [
        Row(
            case,
            "s",
            seconds["ours"],
            seconds.get("eager"),
            eager_label if eager else "PyTorch",
            target=setting.target(small=1 / 1.3),
            note="" if eager else eager_label,
        ),
        Row(
            f"{case}, compiled",
            "s",
            seconds["ours"],
            seconds.get("compiled"),
            compiled_label if compiled else "torch.compile",
            target=setting.target(large=1 / 1.3),
            note="" if compiled else compiled_label,
        ),
        Row(
            f"{case}, products",
            RATE,
            tflop / seconds["ours"],
            rate,
            "a product alone",
            target=setting.target(small=0.75, large=0.6),
        ),
        Row(f"{case}, floor", "s", seconds["ours"], floor, "floor", note=arithmetic),
    ]
    if memory:
        said, peak = memory
        rows.append(Row(f"{case}, memory that the compiler says", "MiB", said, peak, "peak"))
    if eager:
        rows.append(
            Row(
                f"{case}, products in PyTorch",
                RATE,
                tflop / seconds["eager"],
                rate,
                "our product alone",
            )
        )
    return rows


class Ours:
    """The dispatch of training, compiled; each call is so many updates of one batch."""

    def __init__(self, run: AlignRun, config: Config, updates: int = 1):
        t = config.train
        mesh = meshes.make_mesh(1)
        tx = optimizer_of(run, t)
        self.updates = np.int32(updates)
        self.state: State = jax.jit(make_init(run, tx, members=1, seed=config.seed))()
        self._tables = run.place_tables(mesh)
        batches = jax.tree.map(lambda a: np.stack([a] * updates), run.batch(0))
        self._batches = jax.device_put(batches, meshes.stacked_rows(mesh))
        steps = make_steps(make_step(run, tx, members=1, seed=config.seed))
        self.compiled = (
            jit_steps(steps, mesh, self._tables)
            .lower(self.state, self._batches, self._tables, self.updates)
            .compile()
        )

    def memory_mib(self) -> tuple[float, float] | None:
        """What the compiler says that an update needs, and the peak after one.

        None on a device that does not tell; the peak is that of the process, in which compiling may
        have taken more.
        """
        told = jax.local_devices()[0].memory_stats()
        if not told:
            return None
        compiling = told["peak_bytes_in_use"]
        self()
        peak = jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
        return None if peak == compiling else (held_mib(self.compiled), peak / MIB)

    def __call__(self) -> float:
        """Does the updates; returns the loss before the last."""
        self.state, metrics = self.compiled(self.state, self._batches, self._tables, self.updates)
        return float(jax.block_until_ready((self.state, metrics))[1]["loss"][-1])


def make_config(setting: StepCase, *, dropout: bool = True) -> Config:
    """The paper's run, at a constant learning rate so that both sides take the same updates."""
    config = default_config(size=setting.size)
    config.train.update(
        batch_size=setting.batch,
        members=1,
        schedule="constant",
        warmup_steps=0,
        compute_dtype=setting.dtype,
    )
    config.data.update(psi=1.0, placement="device")
    if setting.batch > _DENSE:
        config.loss.execution = "chunked"
    for tower in (config.model.phenomics, config.model.molecules):
        tower.components = 0
        if not dropout:
            tower.input_dropout = tower.dropout = 0.0
    return config


def make_run(setting: StepCase, config: Config) -> AlignRun:
    """The run that is timed: on random numbers, two pairs for each of the batch, on one device."""
    return random_run(
        config,
        meshes.make_mesh(1),
        perturbations=max(2 * setting.batch, 4),
        width=setting.profile_width,
    )


def torch_updates(
    run: AlignRun, config: Config, updates: int = 1, *, compiled: bool
) -> Callable[[], float]:
    """Updates in PyTorch, from the weights that `Ours` starts from and on its batch.

    Raises:
        ImportError: PyTorch is not installed.
    """
    t, h = config.train, config.model
    tx = optimizer_of(run, t)
    state = jax.jit(make_init(run, tx, members=1, seed=config.seed))()
    params = jax.device_get(jax.tree.map(lambda a: a[0], state.params))["params"]
    tables, molecules = run.tables, np.arange(len(run.screen.molecules))
    on = torch_step.make(
        params,
        {
            "replicates": tables.replicates,
            "profile": tables.profile,
            "molecule": tables.molecule.astype(np.int64),
            "features": np.concatenate(
                [run.feed.rows(name, molecules) for name in run.blocks], axis=1
            ),
            "dose": np.asarray(run.encoding(jnp.asarray(tables.concentration_um))),
        },
        scaling={
            "profile": run.assets.profile[:3],
            "molecule": run.assets.molecule[:3],
        },
        clip_sd=CLIP_SD,
        loss={
            "null_constant": run.similar.null_constant,
            **{k: v for k, v in loss_options(config).items() if k != "form"},
        },
        dropout={
            "phenomic_head": (h.phenomics.input_dropout, h.phenomics.dropout),
            "molecule_head": (h.molecules.input_dropout, h.molecules.dropout),
        },
        scale_max=run.model.scale_max,
        decay=lambda name: decay_mask({name.strip("/"): 0.0}, t.decay_rules)[name.strip("/")],
        learning_rate=t.learning_rate,
        betas=(t.b1, t.b2),
        weight_decay=t.weight_decay,
        grad_clip=t.grad_clip,
        half=t.compute_dtype == "bfloat16",
        compiled=compiled,
    )
    return on(run.batch(0), updates)


def check_same_losses(setting: StepCase, *, updates: int = 2) -> None:
    """Both sides, without dropout, give the same loss before each of the first updates.

    Raises:
        RuntimeError: they do not.
        ImportError: PyTorch is not installed.
    """
    config = make_config(dataclasses.replace(setting, dtype="float32"), dropout=False)
    run = make_run(setting, config)
    theirs = torch_updates(run, config, compiled=False)
    ours = Ours(run, config)
    for update in range(updates):
        a, b = ours(), theirs()
        if not abs(a - b) <= RTOL * abs(b):
            raise RuntimeError(f"after {update} updates our loss is {a}, PyTorch's {b}")


def step_tflop(params: Any, run: AlignRun, config: Config) -> float:
    """Floating point operations of a step's matrix products, counted from the weights, in 10¹²."""
    b = run.sampler.batch_size
    products = 0
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("/kernel"):
            products += (2 if "project_in" in name else 3) * leaf.size * b
    # Dense S2L: logits, two gradients, and the similarities.
    pairs = 3 * b * b * config.model.dim + b * b * run.tables.profile.shape[1]
    return 2 * (products + pairs) / 1e12


def _torch(
    run: AlignRun, config: Config, updates: int = 1, *, compiled: bool
) -> tuple[Callable | None, str]:
    """Updates in PyTorch that have run once, and their name; or None, and why not."""
    pairs = pairs_gib(run.sampler.batch_size)
    if _ARRAYS * pairs > device_memory_gib():
        return (
            None,
            f"not compared: PyTorch takes all pairs at once, {pairs:.3g} GiB for each array",
        )
    try:
        update = torch_updates(run, config, updates, compiled=compiled)
        update()
    except ImportError as error:
        return None, f"not compared: {error.name} is not installed"
    except Exception as error:
        if "out of memory" in str(error).lower():
            error.__traceback__ = None  # its frames hold what was allocated
            torch_losses.give_back_memory()
            return None, "not compared: PyTorch has not the memory for all pairs at once"
        if not compiled:
            raise
        # Its compiler needs a C++ toolchain and fails in many ways of its own.
        return None, f"torch.compile does not work here: {first_line(error)}"
    return update, f"{'torch.compile' if compiled else 'eager'} ({torch_losses.describe()})"


def _stream(n: int) -> tuple[Callable[[], Any], float]:
    """A pass over memory as an optimizer makes it, two arrays read and one written; and its GB."""
    a, b = jnp.ones(n), jnp.ones(n)
    add = jax.jit(lambda a, b: a + b)
    return lambda: jax.block_until_ready(add(a, b)), 3 * 4 * n / 1e9
