"""`molphenix compile`: the training step of a config, compiled for a pod that is not there."""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from molphenix_jax.commands.arguments import positive

_TOPOLOGY = "v5e:4x4"
_WHAT = "a training step compiled for TPUs that are not there: does it fit, what is sent"


def add_parser(commands) -> None:
    """Adds the command; it takes the flags of a config as `molphenix train` does."""
    # No argument begins with this prefix, so all are left as they are, --help too.
    parser = commands.add_parser("compile", help=_WHAT, add_help=False, prefix_chars="\0")
    parser.add_argument("flags", nargs="*")
    parser.set_defaults(run=_run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="molphenix compile",
        allow_abbrev=False,
        description="Compiles the step that training would run on a TPU topology, with libtpu on "
        "this machine, and says what memory of a chip it takes, what the chips send to each other, "
        "and how many operations the products are. No TPU is needed, and no data: without "
        "data.wells the screen has the size that the options below say. Fields of the config "
        "follow as they do for molphenix train: --config.train.batch_size=65536. Exit status 1 "
        "where it does not fit.",
    )
    parser.add_argument("--config", help="a config file or name: s2l:size=paper")
    parser.add_argument(
        "--topology",
        help=f"chip and shape (default {_TOPOLOGY}; or v5p:4x4x4 …); several by +",
    )
    parser.add_argument(
        "--rows-per-chip",
        type=positive,
        metavar="ROWS",
        help="of a batch, in place of train.batch_size: weak scaling over the topologies",
    )
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="FILE",
        help="also write it here; a list for several topologies",
    )
    parser.add_argument(
        "--page",
        type=pathlib.Path,
        metavar="FILE",
        help="also write a page (Markdown): sizes, floors by public figures of the chips",
    )
    parser.add_argument(
        "--after",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="of --json of earlier commands, for the page; without --config of these alone",
    )
    for name, of in (
        ("wells", "treated wells of the screen"),
        ("pairs", "its pairs of a molecule and a concentration"),
        ("molecules", "its molecules"),
        ("width", "numbers of a profile"),
    ):
        parser.add_argument(f"--{name}", type=positive, help=f"{of} (default: the paper's)")
    return parser


def read(words: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    """The options and the config of a command line; None where earlier programs are shown alone.

    Raises:
        ConfigError: There is no such file or field, or the config contradicts itself.
    """
    parser = _parser()
    options, others = parser.parse_known_args(words)
    for unknown in others:
        if not unknown.startswith("--config."):
            parser.error(f"unknown argument: {unknown}")
    if options.after and not options.page:
        parser.error("--after is for a page: name it by --page=FILE")
    if options.config is None:
        if not options.after or options.topology is not None or options.json or others:
            parser.error("--config is missing: a file or name, such as s2l:size=paper")
        return options, None
    options.topology = _TOPOLOGY if options.topology is None else options.topology
    for each in options.topology.split("+"):
        if not re.fullmatch(r"\w+:\d+(x\d+)+", each):
            parser.error(f"--topology={options.topology}: {each!r} is no chip and shape as v5e:4x4")
    return options, _config(options.config, others)


def _run(arguments: argparse.Namespace) -> int:
    options, config = read(arguments.flags)
    from molphenix_jax import storage
    from molphenix_jax.pods import scaling
    from molphenix_jax.pods.program import read_programs

    earlier = [program for path in options.after for program in read_programs(path)]
    command = " ".join(["molphenix", "compile", *arguments.flags])
    topologies = [] if config is None else options.topology.split("+")
    programs = [_compiled(options, config, topology, command) for topology in topologies]
    if options.json:
        told = [program.as_json() for program in programs]
        storage.write_json(options.json, told if len(told) > 1 else told[0])
    if options.page:
        storage.write_text(options.page, scaling.page([*earlier, *programs]))
    return 0


def _compiled(options: argparse.Namespace, config: Any, topology: str, command: str) -> Any:
    """The program of one topology, said."""
    from molphenix_jax.pods.described import ScreenSize, describe_run
    from molphenix_jax.pods.program import compile_step
    from molphenix_jax.pods.topology import pod_mesh

    mesh, chip = pod_mesh(topology)
    given = {name: getattr(options, name) for name in ("wells", "pairs", "molecules", "width")}
    size = ScreenSize(**{name: n for name, n in given.items() if n is not None})
    config = config.copy_and_resolve_references()
    with config.unlocked():
        if options.rows_per_chip:
            config.train.batch_size = options.rows_per_chip * mesh.devices.size
        if "data" in config and not config.data.get("device_memory_gib", 1.0):
            config.data.device_memory_gib = chip.memory / 2**30
    described = describe_run(config, mesh, size)
    program = compile_step(config, described, mesh, chip, topology=topology, command=command)
    _show(program, chip)
    return program


def _config(name: str, fields: Sequence[str]) -> Any:
    """The config of the flags, checked."""
    from absl import flags
    from ml_collections import config_flags

    from molphenix_jax import main, tasks
    from molphenix_jax.errors import InputError
    from molphenix_jax.runtime.config import ConfigError

    values = flags.FlagValues()
    try:
        words = ["molphenix compile", f"--config={main.found(name)}", *fields]
        config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=words)
        values(words)
        config = values["config"].value
    except InputError:
        raise
    except main.MISTAKES as error:
        raise ConfigError(main.mistake(error)) from error
    tasks.validate(config)
    return config


def _show(program: Any, chip: Any) -> None:
    from molphenix_jax.memory import in_words
    from molphenix_jax.runtime.progress import say

    memory = ", ".join(f"{name} {in_words(n)}" for name, n in program.memory.items())
    say(
        f"one update of {program.rows:,} rows on {program.topology}, {program.chips:,} chips: "
        f"{program.parameters:,} parameters, {program.about}"
    )
    share = program.memory_bytes / chip.memory
    say(f"memory of a chip: {in_words(program.memory_bytes)}, {share:.1%} of what it has: {memory}")
    say(
        f"work of a chip: {program.flops / 1e12:.3g} TFLOP of products, "
        f"{in_words(program.bytes_accessed)} of its memory read and written"
    )
    for each in program.collectives:
        say(f"{each.kind}: {each.count:,} in an update, {in_words(each.n_bytes)} on each chip")
    say(f"compiled in {program.compile_seconds:.0f} s; nothing was run")
