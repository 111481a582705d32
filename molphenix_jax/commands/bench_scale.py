"""`molphenix bench scale`: preparing and training at the paper's size, on whatever device there is.

Writes a simulated screen as a prepared screen, trains the model of the paper's size on it for a
fixed number of updates, and reports speed, memory, the share of a step that waits for data and the
share that matrix products take at the rate measured on the same device.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import resource
import tempfile
import time
from typing import Any

from molphenix_jax.commands.arguments import positive

GIB = 2**30


def add_scale(benches) -> None:
    """Adds `bench scale`."""
    scale = benches.add_parser("scale", help="a screen of the paper's size: prepare and train")
    scale.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the rows here")
    scale.add_argument(
        "--folder",
        type=pathlib.Path,
        metavar="FOLDER",
        help="where the screen is written (8.9 GB), or lies already; default: written and deleted",
    )
    scale.add_argument("--molecules", type=positive, default=438_761, help="at 3 doses each")
    scale.add_argument("--wells", type=positive, default=2_150_000, help="1 to 4 for each pair")
    scale.add_argument("--width", type=positive, default=1024, help="of a profile (default 1024)")
    scale.add_argument("--steps", type=positive, default=30, help="updates each (default 30)")
    scale.add_argument(
        "--batches",
        type=_sizes,
        help="batch sizes (default 512; on an accelerator 512,8192,65536)",
    )
    scale.add_argument(
        "--size", choices=("paper", "small"), default="paper", help="of the model (default paper)"
    )
    scale.add_argument(
        "--placement", choices=("auto", "device", "stream"), default="auto", help="of the data"
    )
    scale.set_defaults(run=_scale)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in text.split(","))


def _scale(arguments: argparse.Namespace) -> int:
    import jax

    from molphenix_jax.bench import measure
    from molphenix_jax.data.simulated.scale import ScaleConfig

    size = ScaleConfig(
        n_molecules=arguments.molecules, n_wells=arguments.wells, width=arguments.width
    )
    on_cpu = jax.default_backend() == "cpu"
    batches = arguments.batches or ((512,) if on_cpu else (512, 8192, 65536))
    with tempfile.TemporaryDirectory(prefix="molphenix-scale-") as temporary:
        folder = arguments.folder or pathlib.Path(temporary) / "screen"
        rows = _prepare(size, folder)
        matmul_rate = _matmul_flops_per_second("float32" if on_cpu else "bfloat16")
        for batch in batches:
            workdir = pathlib.Path(temporary) / f"batch-{batch}"
            rows += _train(
                folder,
                workdir,
                batch=batch,
                steps=arguments.steps,
                size=arguments.size,
                placement=arguments.placement,
                compute_dtype="float32" if on_cpu else "bfloat16",
                matmul_rate=matmul_rate,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    rows.append(measure.Row("peak memory of the process", "GiB", peak, 16.0, "16 GiB", target=1.0))
    measure.report("paper scale", rows, json=arguments.json)
    return 0


def _prepare(size: Any, folder: pathlib.Path) -> list[Any]:
    """Writes the screen, unless it is there with the same size."""
    from molphenix_jax.bench import measure
    from molphenix_jax.data.builders import HEADER
    from molphenix_jax.data.simulated.scale import write_scale_screen
    from molphenix_jax.errors import InputError

    case = f"write {size.n_perturbations:,} pairs, {size.n_wells:,} wells × {size.width:,}"
    if (folder / HEADER).exists():
        there = json.loads((folder / HEADER).read_text())["provenance"]
        if there != json.loads(json.dumps(dataclasses.asdict(size))):
            raise InputError(
                f"{folder} holds a screen of another size; give another --folder or delete it"
            )
        return [measure.Row(case, "wells/s", None, note=f"was in {folder} already")]
    began = time.perf_counter()
    try:
        write_scale_screen(size, folder)
    except ValueError as error:
        raise InputError(str(error)) from error
    return [measure.Row(case, "wells/s", size.n_wells / (time.perf_counter() - began))]


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
) -> list[Any]:
    """Trains some updates; what `timing.jsonl` says of them."""
    import jax

    from molphenix_jax import tasks, train
    from molphenix_jax.bench.measure import Row
    from molphenix_jax.runtime import mesh as meshes
    from molphenix_jax.runtime.metrics import TIMING_FILE, read_metrics
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.tasks.align.config import default_config

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
    run = tasks.make(config, mesh, workdir).run(0, workdir)
    say(f"the run is set up after {time.perf_counter() - began:.0f} s")
    params = train.fit(run, config, mesh, workdir)
    *_, line = read_metrics(workdir / TIMING_FILE)
    rate = line["steps_per_second"]
    n_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    flops = _step_flops(params, run.batch_rows, config.model.dim, run.screen.width)
    case = f"batch {run.batch_rows:,}"
    busy = flops * rate / matmul_rate / mesh.devices.size
    epoch = run.sampler.steps_per_epoch / rate
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
            note=run.notes[-1],
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
            note=f"extrapolated: {run.sampler.steps_per_epoch:,} updates",
        ),
    ]


def _step_flops(params: Any, batch: int, dim: int, width: int) -> float:
    """Floating point operations of the matrix products of one update.

    A kernel [i, o] takes 2·b·i·o forward and as many for each of its two gradients, but a first
    layer needs none for its input. The loss has three products [b, dim] × [dim, b] and, for the
    frozen similarities, one [b, width] × [width, b].
    """
    import jax

    total = 2.0 * batch * batch * (3 * dim + width)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("/kernel"):
            total += (4.0 if "project_in" in name else 6.0) * batch * leaf.size
    return total


def _matmul_flops_per_second(dtype: str) -> float:
    """The rate of a plain matrix product of 4,096 rows on the first device."""
    import jax.numpy as jnp

    from molphenix_jax.bench.measure import interleaved_medians, matmul

    product, tflop = matmul(4096, jnp.dtype(dtype))
    return 1e12 * tflop / interleaved_medians({"product": product}, repeats=5)["product"]
