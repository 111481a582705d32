"""`molphenix`: everything a user does besides training.

molphenix bench loss [--json=FILE]
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Sequence

import jax
import rich


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status."""
    parser = argparse.ArgumentParser(prog="molphenix", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    bench = commands.add_parser("bench", help="measure, and compare with other code")
    benches = bench.add_subparsers(title="benchmarks", required=True, metavar="WHAT")
    _add_bench_loss(benches)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _add_bench_loss(benches) -> None:
    loss = benches.add_parser("loss", help="time and memory of every loss and execution")
    loss.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the rows here")
    loss.add_argument("--batch", type=_positive, default=8192, help="rows (default 8192)")
    loss.add_argument("--width", type=_positive, default=512, help="of embeddings (default 512)")
    loss.add_argument("--repeats", type=_positive, default=5, help="timed runs each (default 5)")
    loss.add_argument("--losses", type=_losses, help="comma-separated names (default all)")
    loss.set_defaults(run=_bench_loss)


def _bench_loss(arguments: argparse.Namespace) -> int:
    # Rings are compiled for eight devices; on a CPU these are simulated, before jax starts.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", 8)
    from molphenix_jax.bench import loss, measure
    from molphenix_jax.losses import LOSSES

    setting = loss.Setting(
        batch=arguments.batch,
        width=arguments.width,
        repeats=arguments.repeats,
        names=arguments.losses or tuple(LOSSES),
    )
    rows = loss.run(setting)
    rich.print(measure.table(f"losses, {measure.machine()['devices']}", rows))
    if arguments.json:
        measure.write_json(arguments.json, rows)
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _losses(text: str) -> tuple[str, ...]:
    from molphenix_jax.losses import LOSSES

    names = tuple(text.split(","))
    unknown = [name for name in names if name not in LOSSES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no loss named {unknown[0]!r}; there are {', '.join(LOSSES)}"
        )
    return names


if __name__ == "__main__":
    raise SystemExit(main())
