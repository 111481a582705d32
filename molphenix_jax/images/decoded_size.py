"""How many bytes an image file becomes, told by its header: a small file may hold gigabytes."""

import io
import math
import struct
from typing import Any

import numpy as np

from molphenix_jax.tables.formats.arrays import array_header

JPEG2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG"
TIFF = (b"II", b"MM")
NUMPY = (b"PK", b"\x93NUMPY")
# Samples of a pixel by PNG's colour type; a palette becomes colours, with transparency at most 4.
_PNG_SAMPLES = {0: 1, 2: 4, 3: 4, 4: 2, 6: 4}


def decoded_bytes(data: bytes, *, key: str = "") -> int:
    """Bytes of the array that a file decodes to, at most; 0 where the header does not tell.

    Args:
        data: The whole file.
        key: Array within an .npz file; empty takes the only one.

    Raises:
        Exception: A header that is cut off or damaged, whatever the parser raises.
    """
    if data.startswith(PNG):
        width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
        return width * height * _PNG_SAMPLES.get(colour, 4) * (2 if depth > 8 else 1)
    if data.startswith(JPEG):
        return _jpeg(data)
    if data.startswith(JPEG2000):
        return _jpeg2000(data)
    if data.startswith(NUMPY):
        return array_header(io.BytesIO(data), key).n_bytes
    return 0


def tiff_bytes(tiff: Any, series: Any) -> int:
    """The same of a series of an open TIFF, or of the largest image within one of its pages."""
    largest = math.prod(series.shape) * np.dtype(series.dtype).itemsize
    read = tiff.filehandle.read_segments
    for page in series.pages:
        if page is None or page.keyframe.compression not in (
            6,
            7,
            34712,
            33003,
            33004,
            33005,
            34933,
        ):
            continue
        # Compressed as images of their own, whose size need not be that of the page.
        for segment, *_ in read(page.dataoffsets, page.databytecounts):
            largest = max(largest, decoded_bytes(bytes(segment or b"")))
    return largest


def _jpeg(data: bytes) -> int:
    """From the frame header (SOF) that follows the tables."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            depth, height, width, samples = struct.unpack_from(">BHHB", data, at + 4)
            return width * height * samples * (2 if depth > 8 else 1)
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0


def _jpeg2000(data: bytes) -> int:
    """From the SIZ segment that begins the code stream."""
    at = data.find(JPEG2000[1])
    if at < 0:
        return 0
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    samples, depth = struct.unpack_from(">HB", data, at + 40)
    return (right - left) * (bottom - top) * samples * (2 if (depth & 0x7F) > 7 else 1)
