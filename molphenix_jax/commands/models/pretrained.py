"""`molphenix pretrained`: weights that others published, for this project."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output

_MINIMOL = "MiniMol's weights, for embedding molecules and training on (MIT licence)"
_OPENPHENOM = "OpenPhenom's weights, for embedding images and training on (non-commercial licence)"


def add_parser(commands) -> None:
    """Adds `pretrained` and `convert-openphenom`, the former name of `pretrained openphenom`."""
    parser = commands.add_parser("pretrained", help="weights that others published, converted once")
    names = parser.add_subparsers(title="models", required=True, metavar="MODEL")
    minimol = names.add_parser("minimol", help=_MINIMOL)
    minimol.add_argument(
        "file",
        type=pathlib.Path,
        nargs="?",
        help="wheel of the package minimol, or its state_dict.pth (default: pip downloads the "
        "wheel, whose digest is checked)",
    )
    minimol.add_argument(
        "--out",
        type=pathlib.Path,
        help="folder to write (default: in the cache, where --encoder=minimol and "
        "s2l.py:molecules=minimol look)",
    )
    minimol.set_defaults(run=_minimol)
    _add_openphenom(names, "openphenom")
    _add_openphenom(commands, "convert-openphenom")


def _add_openphenom(commands, name: str) -> None:
    parser = commands.add_parser(name, help=_OPENPHENOM)
    parser.add_argument(
        "file", type=pathlib.Path, help="model.safetensors of recursionpharma/OpenPhenom"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.set_defaults(run=_openphenom)


def _minimol(arguments: argparse.Namespace) -> int:
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.encoders.minimol import convert_minimol, minimol_folder

    out = arguments.out or minimol_folder()
    need_other_output(out, arguments.file)
    for sentence in convert_minimol(arguments.file, out, say=say):
        say(sentence)
    say(f"written: {out}")
    where = out if arguments.out else "minimol"
    say(f"use it: molphenix embed molecules.csv --encoder={where} --out=minimol.parquet")
    return 0


def _openphenom(arguments: argparse.Namespace) -> int:
    import jax

    from molphenix_jax.models.conversion import read_state
    from molphenix_jax.models.vit import openphenom
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.encoders.image_encoder import write_image_encoder

    need_other_output(arguments.out, arguments.file)
    state = read_state(arguments.file)
    config, params, unused = openphenom.convert(state)
    source = f"OpenPhenom weights of {arguments.file}"
    write_image_encoder(arguments.out, config, params, source=source, config={})
    encoder = sum(leaf.size for leaf in jax.tree.leaves(params["params"]["encoder"]))
    total = sum(value.size for value in state.values())
    e = config.encoder
    say(
        f"{arguments.file}: {len(state)} entries, {total:,} numbers; the encoder has {encoder:,} "
        f"(width {e.width}, {e.depth} blocks, patches of {e.patch}), decoders for "
        f"{config.channels} channels"
    )
    say(f"checked or never used, and left out: {', '.join(unused)}")
    say(f"written: {arguments.out}")
    return 0
