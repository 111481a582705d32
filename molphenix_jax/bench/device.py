"""`molphenix bench device`: what a GPU or TPU does, in one command of a few minutes.

The parts run one after the other, the most important first, each in a process of its own: memory
is free for the next, and a part that runs out of it takes nothing along. A part writes its rows as
they come, so that what is there when the time is over is kept; what was left out is said.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter as clock
from typing import Any

from molphenix_jax import storage

REPORT = "report.md"
# Of one epoch, as the paper's training set has pairs (docs/method.md, section 5).
EPOCH_PAIRS = 1_316_283
_SHORTEST_S = 5.0  # nothing is begun for less
_LARGEST_FLOAT32 = 8192
_SECONDS = 131_072  # rows from which a loss takes seconds, and two rounds tell enough


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        products: Sides of square matrix products.
        losses: Batches of the contrastive losses.
        width: Of embeddings.
        steps: Batches of the training step.
        step_size: Of its heads.
        images: In a batch of the image encoder.
        image_preset: Its sizes.
        crop: Pixels of a side.
        molecules: In all.
        library: Vectors that are searched.
        queries: Of the search.
        repeats: Timed runs each.
    """

    products: tuple[int, ...] = (4096, 8192, 16384)
    losses: tuple[int, ...] = (8192, 65_536, 262_144)
    width: int = 512
    steps: tuple[int, ...] = (8192, 512, 65_536)
    step_size: str = "paper"
    images: int = 64
    image_preset: str = "openphenom"
    crop: int = 256
    molecules: int = 512
    library: int = 1_000_000
    queries: int = 1000
    repeats: int = 5

    def repeats_at(self, batch: int) -> int:
        """Timed runs of a loss."""
        return self.repeats if batch < _SECONDS else min(self.repeats, 2)


SIZES = {
    "full": Sizes(),
    "tiny": Sizes(
        products=(64,),
        losses=(64,),
        width=16,
        steps=(16,),
        step_size="small",
        images=2,
        image_preset="tiny",
        crop=16,
        molecules=8,
        library=500,
        queries=4,
        repeats=1,
    ),
}


def products(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """The rate of bfloat16 and float32 products alone."""
    import jax.numpy as jnp

    from molphenix_jax.bench.measure import RATE, Row, interleaved_medians, matmul

    for side in sizes.products:
        # XLA tries its products out: those of float32 take it half a minute at the largest side.
        dtypes = ("bfloat16", "float32") if side <= _LARGEST_FLOAT32 else ("bfloat16",)
        runs = {dtype: matmul(side, jnp.dtype(dtype)) for dtype in dtypes}
        seconds = interleaved_medians(
            {dtype: run for dtype, (run, _) in runs.items()}, repeats=sizes.repeats
        )
        yield [
            Row(f"product of {side}², {dtype}", RATE, tflop / seconds[dtype])
            for dtype, (_, tflop) in runs.items()
        ]


def losses(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """Chunked and dense losses; per pair, the largest batch beside dense at the smallest."""
    from molphenix_jax.bench import loss
    from molphenix_jax.bench.measure import Row

    cases = {
        batch: loss.LossCase(
            batch=batch, width=sizes.width, dtype="bfloat16", repeats=sizes.repeats_at(batch)
        )
        for batch in sizes.losses
    }
    todo = [(name, batch) for name in ("s2l", "siglip") for batch in sizes.losses]
    with ThreadPoolExecutor() as pool:  # side by side: a lent device is dear
        made = pool.map(lambda each: loss.programs(each[0], cases[each[1]]), todo)
        compiled = dict(zip(todo, made, strict=True))
    for name in ("s2l", "siglip"):
        per_pair: dict[int, float] = {}
        dense = None
        for batch, case in cases.items():
            rows = loss.chunked_rows(name, case, compiled[name, batch])
            yield rows
            timed = rows[1]
            assert timed.ours is not None, "chunked runs at any size"
            per_pair[batch] = timed.ours / batch**2
            dense = dense or (timed.other / batch**2 if timed.other else None)
        first, last = sizes.losses[0], sizes.losses[-1]
        if dense and last != first:
            yield [
                Row(
                    f"{name} chunked time for each pair, batch {last}",
                    "ps",
                    1e12 * per_pair[last],
                    1e12 * dense,
                    f"dense at batch {first}",
                    target=1.15,
                )
            ]


def open_clip(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """SigLIP's loss here beside open_clip's, whole and in its own chunks: time and memory."""
    from molphenix_jax.bench import loss

    for batch in sizes.losses:
        yield loss.open_clip_rows(
            loss.LossCase(batch=batch, width=sizes.width, repeats=sizes.repeats_at(batch))
        )


def steps(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """The training step beside PyTorch's, and an epoch of the paper's training set."""
    from molphenix_jax.bench import step
    from molphenix_jax.bench.measure import Row

    for batch in sizes.steps:
        case = step.StepCase(
            batch=batch,
            size=sizes.step_size,
            dtype="bfloat16",
            repeats=sizes.repeats,
            matmul=sizes.products[-1],
        )
        rows = step.run(case, check=batch == sizes.steps[0])
        updates, seconds = EPOCH_PAIRS / batch, rows[0].ours
        assert seconds is not None, "our step was run"
        epoch = Row(
            f"epoch of {EPOCH_PAIRS:,} pairs, batch {batch}",
            "s",
            updates * seconds,
            note=f"{updates:,.0f} updates of the step above; data on the device",
        )
        yield [*rows, epoch]


def images(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """Crops a second that the image encoder embeds, and that a masked autoencoder trains on."""
    import jax
    import jax.numpy as jnp

    from molphenix_jax.bench.measure import Row, interleaved_medians
    from molphenix_jax.models.vit import MAE, PRESETS, embed_crops, mae_loss, random_mask

    config = PRESETS[sizes.image_preset]
    model = MAE(config, dtype=jnp.bfloat16)
    shape = (sizes.images, config.channels, sizes.crop, sizes.crop)
    crops = jax.random.randint(jax.random.key(0), shape, 0, 256).astype(jnp.uint8)
    tokens = config.channels * (sizes.crop // config.encoder.patch) ** 2

    def mask(key: jax.Array, n: int) -> Any:
        return random_mask(key, n=n, tokens=tokens, ratio=config.mask_ratio)

    params = jax.jit(model.init)(jax.random.key(1), crops[:1], mask(jax.random.key(2), 1))
    encoder = {"params": params["params"]["encoder"]}
    embed = jax.jit(lambda p, x: embed_crops(config.encoder, p, x, dtype=jnp.bfloat16))

    def loss(p: Any, x: jax.Array) -> jax.Array:
        out: Any = model.apply(
            p, x, mask(jax.random.key(3), len(x)), train=True, rngs={"dropout": jax.random.key(4)}
        )
        return mae_loss(out, fourier_weight=0.01)[0]

    train = jax.jit(jax.value_and_grad(loss))
    seconds = interleaved_medians(
        {
            "embed": lambda: jax.block_until_ready(embed(encoder, crops)),
            "train": lambda: jax.block_until_ready(train(params, crops)),
        },
        repeats=sizes.repeats,
    )
    what = f"{sizes.image_preset}, {config.channels} × {sizes.crop}² pixels, bfloat16"
    yield [
        Row(
            f"crops {done}, {what}",
            "s per 1,000",
            1000 * seconds[name] / sizes.images,
            note=f"{sizes.images / seconds[name]:,.0f} crops/s",
        )
        for name, done in (("embed", "embedded"), ("train", "value and gradient of the MAE"))
    ]


def molecules(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """The molecule encoder."""
    from molphenix_jax.bench import molecules as bench

    yield bench.run(bench.MoleculesCase(n_molecules=sizes.molecules, repeats=sizes.repeats))


def search(sizes: Sizes) -> Iterator[Sequence[Any]]:
    """Exact search."""
    from molphenix_jax.bench import search as bench

    yield bench.run(
        bench.SearchCase(
            queries=sizes.queries, rows=sizes.library, width=sizes.width, repeats=sizes.repeats
        )
    )


# The most important first.
PARTS: dict[str, Callable[[Sizes], Iterator[Sequence[Any]]]] = {
    "products": products,
    "losses": losses,
    "steps": steps,
    "open_clip": open_clip,
    "images": images,
    "search": search,
    "molecules": molecules,
}


def run(out: pathlib.Path, *, budget_s: float, size: str, say: Callable[[str], None]) -> list[str]:
    """Runs the parts and writes their rows and the report into a folder.

    Args:
        out: Gets PART.json of each part and `report.md`, which grows with them.
        budget_s: Seconds for all.
        size: Of `SIZES`.
        say: Is told what happens.

    Returns:
        What was left out, a sentence each.
    """
    began, left = clock(), []
    out.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        storage.remove(out / f"{name}.json")
    for name in PARTS:
        seconds = budget_s - (clock() - began)
        if seconds < _SHORTEST_S:
            left.append(f"{name}: not begun, the {budget_s:g} s were over")
            continue
        say(f"{name}: at most {seconds:.0f} s")
        if reason := _apart(name, size, out / f"{name}.json", seconds):
            left.append(f"{name}: {reason}")
        storage.write_text(out / REPORT, _report(out, left))
    storage.write_text(out / REPORT, _report(out, left))
    return left


def _apart(name: str, size: str, path: pathlib.Path, seconds: float) -> str:
    """Runs a part in a process of its own; why it did not come to its end, or ""."""
    command = [sys.executable, "-m", "molphenix_jax.bench.device", name, size, str(path)]
    # Others want memory too: PyTorch in the same process.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "not finished, the time was over"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"failed: {lines[-1] if lines else f'exit status {done.returncode}'}"


def _report(out: pathlib.Path, left: Sequence[str]) -> str:
    """All rows that there are, as Markdown."""
    lines, machine = [], {}
    for name in PARTS:
        path = out / f"{name}.json"
        if not path.exists():
            continue
        told = json.loads(path.read_text())
        machine = told["machine"]
        lines += ["", f"## {name}", "", "| case | unit | ours | other | compared with | ratio |"]
        lines += ["|---|---|---:|---:|---|---:|"]
        for row in told["rows"]:
            numbers = ["" if row[k] is None else f"{row[k]:.4g}" for k in ("ours", "other")]
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
            cells = [row["case"], row["unit"], *numbers, row["other_name"], ratio]
            lines.append(f"| {' | '.join(cells)} |")
        notes = [f"- {row['case']}: {row['note']}" for row in told["rows"] if row["note"]]
        lines += ["", *notes] if notes else []
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    missing = ["", "Left out:", "", *(f"- {each}" for each in left)] if left else []
    return "\n".join(["# Measured", "", about, *missing, *lines, ""])


def measure(name: str, size: str, path: pathlib.Path) -> None:
    """One part in this process; its file grows with its rows."""
    from molphenix_jax.bench.measure import write_rows

    rows = []
    for some in PARTS[name](SIZES[size]):
        rows += some
        write_rows(path, rows)


if __name__ == "__main__":
    measure(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
