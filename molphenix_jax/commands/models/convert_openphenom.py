"""`molphenix convert-openphenom`: OpenPhenom's weights for this project."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "convert-openphenom", help="OpenPhenom's weights, once, for embedding and training on"
    )
    parser.add_argument(
        "file", type=pathlib.Path, help="model.safetensors of recursionpharma/OpenPhenom"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import jax

    from molphenix_jax.models.vit import openphenom
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.image_encoder import write_image_encoder

    need_other_output(arguments.out, arguments.file)
    state = openphenom.read_state(arguments.file)
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
