"""`molphenix embed`: molecule fingerprints of a trained encoder."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output, positive


def add_parser(commands) -> None:
    """Adds `embed`."""
    embed = commands.add_parser("embed", help="embed molecules with a trained encoder")
    embed.add_argument(
        "molecules", type=pathlib.Path, help="CSV or Parquet with a column of SMILES, .smi or .sdf"
    )
    embed.add_argument(
        "--encoder",
        type=pathlib.Path,
        required=True,
        metavar="RUN",
        help="folder of a run of configs/molgps.py, of an alignment with encoder=mpnn, or of "
        "`molphenix pretrained minimol`, which minimol alone names where it put it",
    )
    embed.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE", help=".parquet")
    embed.add_argument(
        "--layers",
        default="graph",
        help="comma-separated: graph (the embedding) or layer_0, layer_1, … (the mean over the "
        "atoms after that layer); several stand side by side (default graph)",
    )
    embed.add_argument("--smiles-column", default="", help="default: the one ending in 'smiles'")
    embed.add_argument("--checkpoint", type=int, help="step (default the newest)")
    embed.add_argument("--batch", type=positive, default=256, help="molecules (default 256)")
    embed.set_defaults(run=_embed)


def _embed(arguments: argparse.Namespace) -> int:
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.tasks.embed_molecules import embed_file
    from molphenix_jax.trained.encoders.minimol import found_encoder

    encoder = found_encoder(arguments.encoder)
    need_other_output(arguments.out, arguments.molecules, encoder)
    layers = tuple(part.strip() for part in arguments.layers.split(",") if part.strip())
    n, width, rejected = embed_file(
        arguments.molecules,
        encoder=encoder,
        out=arguments.out,
        layers=layers,
        smiles_column=arguments.smiles_column,
        checkpoint=arguments.checkpoint,
        batch_size=arguments.batch,
    )
    if rejected is not None:
        say(f"some molecules could not be embedded: {rejected} has each with its reason")
    say(f"{n:,} molecules × {width:,} numbers: {arguments.out}")
    say(f"use them in alignment: --config.molecules.embeddings=mpnn={arguments.out}")
    return 0
