"""Preparing and training at the paper's size, on whatever device there is: `molphenix bench scale`.

Writes a simulated screen as a prepared screen, trains the model of the paper's size on it for a
fixed number of updates, and reports speed, memory, the share of a step that waits for data and the
share that matrix products take at the rate measured on the same device.
"""

import dataclasses
import json
import pathlib
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp

from molphenix_jax import tasks, train
from molphenix_jax.bench.made.scale_screen import ScaleConfig, write_scale_screen
from molphenix_jax.bench.measure import Row, interleaved_medians, matmul
from molphenix_jax.errors import InputError
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.metrics import TIMING_FILE, read_metrics
from molphenix_jax.screens.builders import HEADER
from molphenix_jax.storage import temporary_folder
from molphenix_jax.tasks.align.config import default_config

GIB = 2**30


def run(
    screen: ScaleConfig,
    *,
    folder: pathlib.Path | None,
    batches: tuple[int, ...] | None,
    steps: int,
    size: str,
    placement: str,
) -> list[Row]:
    """Prepares and trains.

    Args:
        screen: Size of the screen.
        folder: Where the screen is written or lies; None: written, and deleted at the end.
        batches: Rows of a batch, one training each; None: 512, on an accelerator also more.
        steps: Updates of each training.
        size: "paper" or "small", of the model.
        placement: `data.placement` of the runs.

    Returns:
        The rows of the report.

    Raises:
        InputError: if the folder holds a screen of another size, or the sizes do not fit together.
    """
    on_cpu = jax.default_backend() == "cpu"
    with temporary_folder() as temporary:
        folder = folder or temporary / "screen"
        rows = _prepare(screen, folder)
        matmul_rate = _matmul_flops_per_second("float32" if on_cpu else "bfloat16")
        for batch in batches or ((512,) if on_cpu else (512, 8192, 65536)):
            rows += _train(
                folder,
                temporary / f"batch-{batch}",
                batch=batch,
                steps=steps,
                size=size,
                placement=placement,
                compute_dtype="float32" if on_cpu else "bfloat16",
                matmul_rate=matmul_rate,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    return [*rows, Row("peak memory of the process", "GiB", peak, 16.0, "16 GiB", target=1.0)]


def _prepare(size: ScaleConfig, folder: pathlib.Path) -> list[Row]:
    """Writes the screen, unless it is there with the same size."""
    case = f"write {size.n_perturbations:,} pairs, {size.n_wells:,} wells × {size.width:,}"
    if (folder / HEADER).exists():
        there = json.loads((folder / HEADER).read_text())["provenance"]
        if there != json.loads(json.dumps(dataclasses.asdict(size))):
            raise InputError(
                f"{folder} holds a screen of another size; give another --folder or delete it"
            )
        return [Row(case, "wells/s", None, note=f"was in {folder} already")]
    began = time.perf_counter()
    try:
        write_scale_screen(size, folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    return [Row(case, "wells/s", size.n_wells / (time.perf_counter() - began))]


def _train(
    folder: pathlib.Path,
    workdir: pathlib.Path,
    *,
    batch: int,
    steps: int,
    size: str,
    placement: str,
    compute_dtype: str,
    matmul_rate: float,
) -> list[Row]:
    """Trains some updates; what `timing.jsonl` says of them."""
    config = default_config(wells=str(folder), size=size)
    config.update_from_flattened_dict(
        {
            "data.psi": 1.0,
            "data.placement": placement,
            "molecules.blocks": "morgan,maccs,rdkit",
            "train.batch_size": batch,
            "train.steps": steps,
            "train.warmup_steps": 1,
            "train.compute_dtype": compute_dtype,
            "train.validate_every": steps,
            "train.checkpoint_every": steps,
            "train.log_every": steps,
            "train.keep_checkpoints": 1,
            "eval.validation_pairs": 1000,
            "eval.baselines": "",
            # Beyond 4,096 rows [n, n] logits outgrow everything else.
            "loss.execution": "dense" if batch <= 4096 else "chunked",
        }
    )
    tasks.validate(config)
    mesh = meshes.make_mesh()
    workdir.mkdir(parents=True)
    began = time.perf_counter()
    trained = tasks.make(config, mesh, workdir).run(0, workdir)
    say(f"the run is set up after {time.perf_counter() - began:.0f} s")
    params = train.fit(trained, config, mesh, workdir)
    *_, line = read_metrics(workdir / TIMING_FILE)
    rate = line["steps_per_second"]
    n_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    flops = _step_flops(params, trained.batch_rows, config.model.dim, trained.screen.width)
    case = f"batch {trained.batch_rows:,}"
    busy = flops * rate / matmul_rate / mesh.devices.size
    epoch = trained.sampler.steps_per_epoch / rate
    return [
        Row(
            f"{case}, training",
            "steps/s",
            rate,
            note=f"{n_parameters:,} parameters, {line['compile_seconds']:.0f} s of compiling apart",
        ),
        Row(
            f"{case}, waiting for data",
            "share of a step",
            line["data_wait_share"],
            0.01,
            "1%",
            target=1.0,
            note=trained.notes[-1],
        ),
        Row(
            f"{case}, matrix products",
            "share of a step",
            busy,
            note=f"{flops / 1e9:,.0f} GFLOP a step at the {matmul_rate / 1e9:,.0f} GFLOP/s of a "
            f"{compute_dtype} product of 4,096 rows on this device: model FLOP utilisation",
        ),
        Row(
            f"{case}, one epoch",
            "hours",
            epoch / 3600,
            note=f"extrapolated: {trained.sampler.steps_per_epoch:,} updates",
        ),
    ]


def _step_flops(params: Any, batch: int, dim: int, width: int) -> float:
    """Floating point operations of the matrix products of one update.

    A kernel [i, o] takes 2·b·i·o forward and as many for each of its two gradients, but a first
    layer needs none for its input. The loss has three products [b, dim] × [dim, b] and, for the
    frozen similarities, one [b, width] × [width, b].
    """
    total = 2.0 * batch * batch * (3 * dim + width)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("/kernel"):
            total += (4.0 if "project_in" in name else 6.0) * batch * leaf.size
    return total


def _matmul_flops_per_second(dtype: str) -> float:
    """The rate of a plain matrix product of 4,096 rows on the first device."""
    product, tflop = matmul(4096, jnp.dtype(dtype))
    return 1e12 * tflop / interleaved_medians({"product": product}, repeats=5)["product"]
