"""Fields as one array of small 8-bit images in the cache folder, made once."""

import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from molphenix_jax.images.depth import crop_for, is_mixed
from molphenix_jax.images.embedding import in_order
from molphenix_jax.images.fields import ImagesError, Rejection, reject
from molphenix_jax.images.files import MAX_IMAGE_MIB, ImageError
from molphenix_jax.images.found import FoundFields
from molphenix_jax.images.wells_table import hash_fields
from molphenix_jax.phenomics import CropConfig, CropError, field_image
from molphenix_jax.storage import digest, make_folder_once, write_json

_IMAGES, _REJECTED = "images.npy", "rejected.json"


@dataclasses.dataclass(frozen=True)
class ImageStack:
    """Images of all fields.

    Attributes:
        images: [f, c, h, w], on disk; row i is field i, zeros where it could not be used.
        rejected: Why, by position of the field.
    """

    images: UInt8[np.ndarray, "f c h w"]
    rejected: dict[int, Rejection]


def stack_images(
    found: FoundFields,
    crop: CropConfig,
    *,
    cache: pathlib.Path,
    threads: int = 4,
    say: Callable[[str], None] = lambda _: None,
) -> ImageStack:
    """Reads all fields once: block mean, core, 8 bits; a second call finds them in the cache.

    Args:
        found: The fields.
        crop: How a field becomes small; its `size` has no meaning here.
        cache: Folder of such arrays.
        threads: Threads that read.
        say: Is told where the array is.

    Raises:
        ImagesError: No field can be used, or the cache holds a damaged array.
    """
    parameters = json.dumps(dataclasses.asdict(dataclasses.replace(crop, size=0)))
    text = f"1 {hash_fields(found.fields)} {found.read.channels} {parameters}"
    if found.read.max_mib != MAX_IMAGE_MIB:
        text += f" {found.read.max_mib}"
    crop, note = crop_for(found.read, crop)
    say(f"- {note}")
    if is_mixed(found.read):
        text += " mixed"
    folder = cache / f"images-{digest([text])[:16]}"

    def make(private: pathlib.Path) -> None:
        say(f"reading {len(found.fields):,} fields")
        _make(found, crop, private, threads)

    # Folders of earlier versions filled up in place: this file came last.
    whole = lambda folder: (folder / _REJECTED).exists()  # noqa: E731
    make_folder_once(folder, make, doing="made from images", whole=whole, say=say)
    try:
        images = np.load(folder / _IMAGES, mmap_mode="r")
        stored = json.loads((folder / _REJECTED).read_text())
        rejected = {int(i): Rejection(*row) for i, row in stored.items()}
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise ImagesError(
            f"{folder}: this cache of images is damaged; delete it and start again"
        ) from error
    if len(rejected) == len(images):
        first = next(iter(rejected.values()))
        raise ImagesError(f"no field can be used; the first is {first.file}: {first.reason}")
    say(f"{len(images):,} images of {'x'.join(map(str, images.shape[1:]))} are in {folder}")
    return ImageStack(images, rejected)


def _make(found: FoundFields, crop: CropConfig, folder: pathlib.Path, threads: int) -> None:
    try:
        shape = field_image(np.broadcast_to(np.uint8(0), found.shape), crop).shape
    except CropError as error:
        raise ImagesError(f"fields of {found.shape} pixels: {error}") from error
    n, blank = len(found.fields), bytes(int(np.prod(shape)))
    rejected: dict[int, Rejection] = {}

    def small(i: int) -> np.ndarray | Rejection:
        try:
            return field_image(found.read(found.fields[i]), crop)
        except ImageError as error:
            return reject(found.fields[i], str(error), error.source)
        except CropError as error:
            return reject(found.fields[i], str(error))

    # Written, not mapped: on a full disk a mapped file ends the process without a word.
    with (
        (folder / _IMAGES).open("wb") as out,
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
        np.lib.format.write_array_header_1_0(out, header)
        stream = in_order(small, iter(range(n)), pool, ahead=2 * threads)
        for i, image in enumerate(stream):
            if isinstance(image, Rejection):
                rejected[i] = image
            out.write(blank if isinstance(image, Rejection) else np.ascontiguousarray(image).data)
    write_json(folder / _REJECTED, rejected)
