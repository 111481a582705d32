"""`molphenix embed-images`: microscope images to a wells table."""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib

from molphenix_jax.commands.arguments import need_other_output, positive

_DESCRIPTION = """\
Embeds microscope images and writes the wells table that training reads: batch, plate, well,
smiles, concentration_um, is_control, embedding.

layouts:
  gallery      plates as in the Cell Painting Gallery, Phenix file names (r01c01f01p01-ch1...tiff);
               with --index=load_data.csv any names
  rxrx3-core   Parquet shards with columns __key__ and jp2
  bray2017     CLOOME's PLATE-WELL-SITE.npz; --index=one of its index files
  table        --index=CSV with path, plate, well, field and channel; or, with --images=FILE.npz,
               a CSV with a row for each image of the array

Killed at any moment, the same command continues. Images that cannot be used are in
<out>.rejected.csv with the reason."""


def add_parser(commands) -> None:
    """Adds `embed-images`."""
    parser = commands.add_parser(
        "embed-images",
        help="microscope images to a wells table",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    path = pathlib.Path
    parser.add_argument(
        "--layout", required=True, type=_layout, metavar="NAME", help="how the images lie"
    )
    parser.add_argument(
        "--images", required=True, type=path, metavar="PATH", help="folder, shard or .npz"
    )
    parser.add_argument("--index", type=path, metavar="FILE", help="table that lists the images")
    parser.add_argument(
        "--metadata",
        type=path,
        metavar="FILE",
        help="table with plate, well, smiles, concentration and controls",
    )
    parser.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="OURS=THEIRS,...",
        help="columns of the metadata that have unusual names, e.g. smiles=SMI",
    )
    parser.add_argument(
        "--concentration-unit",
        default="",
        metavar="UNIT",
        help="of concentrations in the metadata that name none: nM, µM, log10(M), …",
    )
    parser.add_argument(
        "--encoder",
        required=True,
        help="folder of a converted OpenPhenom or of an MAE run; 'intensity' takes brightness, "
        "spread and correlation of the channels; or one that --plugin registers",
    )
    parser.add_argument(
        "--channelwise",
        action="store_true",
        help="an encoder's embedding of each channel side by side, in place of their mean",
    )
    parser.add_argument("--out", required=True, type=path, metavar="FILE", help="wells table")
    parser.add_argument(
        "--level", choices=("well", "field"), default="well", help="a row for each (default well)"
    )
    parser.add_argument(
        "--time-point",
        default="",
        metavar="N",
        help="to take where fields have several (default the first): sk in Phenix names, or a "
        "column time_point of the index",
    )
    parser.add_argument(
        "--plane",
        default="",
        metavar="N",
        help="focal plane to take where fields have several (default the first): p in Phenix "
        "names, or a column plane of the index",
    )
    parser.add_argument("--channels", default="", help="comma-separated, in order (default all)")
    parser.add_argument(
        "--crop", type=positive, default=256, help="side of a crop in pixels (default 256)"
    )
    parser.add_argument(
        "--positions",
        choices=("computed", "slice"),
        default="computed",
        help="of an encoder's patches where crops are not 256 pixels: computed for the crop "
        "(default), or the first rows of the table for 256, as in Recursion's own code",
    )
    parser.add_argument(
        "--core", type=int, default=0, help="side of the central square to use (default: all)"
    )
    parser.add_argument(
        "--downsample", type=positive, default=1, help="block mean of so many pixels a side"
    )
    parser.add_argument(
        "--standardise",
        choices=("auto", "image", "none"),
        default="auto",
        help="image: stretch each channel of each field to 8 bits between its percentiles 0.1 and "
        "99.9; auto (default): only where it is not 8-bit; none: take the upper 8 of 16 bits",
    )
    parser.add_argument(
        "--max-image-mib",
        type=positive,
        default=256,
        metavar="N",
        help="images that would be larger once decoded are rejected, by their header (default 256)",
    )
    parser.add_argument("--batch-size", type=positive, default=64, help="crops (default 64)")
    parser.add_argument(
        "--part-fields",
        type=positive,
        default=64,
        help="fields between two savings; what a kill can cost (default 64)",
    )
    parser.add_argument(
        "--threads", type=positive, default=min(8, os.cpu_count() or 1), help="that read images"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.images import EmbedConfig, EmbedJob, ImageSource, Take, embed_images
    from molphenix_jax.phenomics import CropConfig
    from molphenix_jax.runtime.progress import say

    given = (arguments.images, arguments.index, arguments.metadata)
    need_other_output(arguments.out, *given, arguments.encoder)
    source = ImageSource(
        layout=arguments.layout,
        images=arguments.images,
        index=arguments.index,
        metadata=arguments.metadata,
        channels=tuple(c.strip() for c in arguments.channels.split(",") if c.strip()),
        columns=arguments.columns,
        concentration_unit=arguments.concentration_unit,
        max_image_mib=arguments.max_image_mib,
        take=Take(arguments.time_point, arguments.plane),
    )
    crop = CropConfig(arguments.crop, arguments.core, arguments.downsample, arguments.standardise)
    config = EmbedConfig(crop, arguments.batch_size, arguments.part_fields, arguments.threads)
    job = EmbedJob(source, _encoder(arguments), config, arguments.out, arguments.level)
    embed_images(job, say=say)
    return 0


def _encoder(arguments: argparse.Namespace):
    """The encoder that --encoder names, spread over all devices."""
    import functools

    import jax

    from molphenix_jax.images import IMAGE_ENCODERS, CropEncoder, ImagesError
    from molphenix_jax.models.vit import embed_crops
    from molphenix_jax.storage import digest
    from molphenix_jax.trained.encoders.image_encoder import load_image_encoder

    if arguments.encoder in IMAGE_ENCODERS:
        name, spec = arguments.encoder, IMAGE_ENCODERS[arguments.encoder]
        if arguments.channelwise:
            raise ImagesError(f"--channelwise is for trained encoders; {name} has all channels")
        if arguments.positions != "computed":
            raise ImagesError(f"--positions is for trained encoders; {name} has none")
        return CropEncoder(
            name, f"{name}-{spec.version}", lambda _: _on_devices(spec.embed, spec.load())
        )
    loaded = load_image_encoder(pathlib.Path(arguments.encoder))
    if arguments.crop % loaded.config.patch:
        raise ImagesError(
            f"--crop={arguments.crop} does not divide into the encoder's patches of "
            f"{loaded.config.patch} pixels"
        )
    weights = (jax.device_get(leaf).tobytes() for leaf in jax.tree.leaves(loaded.params))
    how = (loaded.config, arguments.channelwise)
    if arguments.positions != "computed":
        how += (arguments.positions,)
        if 256 % loaded.config.patch:
            raise ImagesError(
                f"--positions=slice is of images of 256 pixels, which patches of "
                f"{loaded.config.patch} do not divide"
            )
    sha256 = digest(itertools.chain([repr(how)], weights))
    encode = functools.partial(
        embed_crops,
        loaded.config,
        channelwise=arguments.channelwise,
        positions=arguments.positions,
    )
    return CropEncoder(
        loaded.source,
        sha256,
        lambda _: _on_devices(encode, loaded.params, attends=True),
    )


def _on_devices(embed, params, *, attends=False):
    """Jits an encoder (params, crops) for batches that are spread over all devices.

    Args:
        embed: CropEncoder.
        params: Its parameters.
        attends: Whether attention takes its memory and time; a CPU gets two crops at a time then.
    """
    import jax

    from molphenix_jax.images import ImagesError
    from molphenix_jax.runtime import mesh as meshes
    from molphenix_jax.runtime.progress import say

    mesh = meshes.make_mesh()
    say(f"devices: {meshes.describe(mesh)}")
    params = jax.device_put(params, meshes.replicated(mesh))
    on_cpu = mesh.devices.size == 1 and mesh.devices.flat[0].platform == "cpu"
    encode = jax.jit(_in_pairs(embed) if attends and on_cpu else embed)

    def encode_batch(crops):
        if len(crops) % mesh.devices.size:
            raise ImagesError(
                f"--batch-size={len(crops)} is no multiple of the {mesh.devices.size} devices"
            )
        embedding = encode(params, jax.device_put(crops, meshes.rows(mesh)))
        if embedding.ndim != 2 or len(embedding) != len(crops):
            raise ImagesError(
                f"the encoder gives {list(embedding.shape)} for {len(crops)} crops; it has to give "
                "a row of numbers for each"
            )
        return embedding

    return encode_batch


def _in_pairs(embed):
    """The same encoder, two crops at a time: the attention scores of many exceed a CPU's cache."""
    import jax

    def encode(params, crops):
        return jax.lax.map(lambda crop: embed(params, crop[None])[0], crops, batch_size=2)

    return encode


def _layout(name: str) -> str:
    # Imported here: --help is quick without.
    from molphenix_jax.images import LAYOUTS

    if name not in LAYOUTS:
        raise argparse.ArgumentTypeError(f"{name!r}: choose one of {', '.join(LAYOUTS)}")
    return name


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(ours and theirs for ours, _, theirs in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: give OURS=THEIRS,OURS=THEIRS")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
