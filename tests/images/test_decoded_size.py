"""Damaged files and images that would fill the memory are one rejected row each."""

import contextlib
import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from molphenix_jax.images.decoded_size import decoded_bytes
from molphenix_jax.images.files import ImageError, Source, SourceReader, decode
from tests.images import screens

pytestmark = pytest.mark.slow

SIDE = 30_000  # 900 MB of 8 bits


def tiff(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png_bomb() -> bytes:
    """A PNG of 30,000 x 30,000 black pixels in under 1 MB."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(SIDE + 1)) for _ in range(SIDE)) + packer.flush()
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(shape: tuple[int, ...]) -> bytes:
    """An .npz whose header promises zeros that are not there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", header.getvalue() + bytes(10**6))
    return out.getvalue()


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def bombs() -> dict[str, bytes]:
    small = screens.pixels(0, 0, 0, size=64)
    size, large = struct.pack(">HH", 64, 64), struct.pack(">HH", SIDE, SIDE)
    pages = tiff(
        np.zeros((600, 1024, 1024), np.uint8), compression="zlib", photometric="minisblack"
    )
    return {
        "png": png_bomb(),
        "jpeg": patched(bytes(imagecodecs.jpeg_encode(small)), size, large),
        "jp2": patched(
            screens.jp2(small),
            b"\xff\x51" + screens.jp2(small).partition(b"\xff\x4f\xff\x51")[2][:12],
            b"\xff\x51"
            + screens.jp2(small).partition(b"\xff\x4f\xff\x51")[2][:4]
            + struct.pack(">II", SIDE, SIDE),
        ),
        "npz": zeros((SIDE, SIDE)),
        "tiff of many pages": pages,
    }


def test_the_header_tells_the_size_of_the_decoded_image():
    x, rgb = screens.pixels(0, 0, 0, size=40)[:30], np.zeros((30, 40, 3), np.uint8)
    for data in (
        screens.png(x), screens.png(x.astype(np.uint16)), screens.png(rgb), screens.jp2(x),
        screens.jp2(x.astype(np.uint16)), bytes(imagecodecs.jpeg_encode(x)),
        bytes(imagecodecs.jpeg_encode(rgb)), screens.npz(image=x.astype(np.float32)),
    ):  # fmt: skip
        # Colours of a PNG may have transparency, which its header does not tell.
        assert decode(data).nbytes <= decoded_bytes(data) <= 4 / 3 * decode(data).nbytes


def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded():
    for kind, data in bombs().items():
        assert len(data) < 1 << 20, kind
        tracemalloc.start()
        with pytest.raises(ImageError, match="MiB once decoded, more than 256.*--max-image-mib"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20, kind
        tracemalloc.stop()


def test_a_page_that_unpacks_to_more_than_it_says_stays_small():
    image = np.zeros((64, 64), np.uint8)
    huge = zlib.compress(bytes(300 << 20), 9)
    data = bytearray(tiff(image, compression="zlib", rowsperstrip=64))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages.first
        counts, offsets = page.tags["StripByteCounts"], page.tags["StripOffsets"]
        at = len(data)
        data += huge
        struct.pack_into("<I", data, offsets.valueoffset, at)
        assert counts.dtype.name == "LONG"
        struct.pack_into("<I", data, counts.valueoffset, len(huge))
    tracemalloc.start()
    with contextlib.suppress(ImageError):
        decode(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_jpeg_within_a_tiff_is_asked_for_its_own_size():
    image = screens.pixels(0, 0, 0, size=64)
    data = tiff(image, compression="jpeg")
    start = data.index(b"\xff\xd8\xff")
    old, new = struct.pack(">HH", 64, 64), struct.pack(">HH", SIDE, SIDE)
    at = data.index(old, start)
    with pytest.raises(ImageError, match="MiB once decoded"):
        decode(data[:at] + new + data[at + 4 :])


def test_the_limit_can_be_raised():
    x = np.zeros((1024, 1025), np.uint8)
    with pytest.raises(ImageError, match="would have 1 MiB once decoded, more than 1"):
        decode(screens.png(x), max_mib=1)
    assert decode(screens.png(x), max_mib=2).shape == x.shape


@pytest.mark.parametrize(
    "error", [SystemError("x"), MemoryError(), struct.error("x"), AssertionError(), KeyError("x")]
)
def test_whatever_a_decoder_raises_is_one_damaged_file(monkeypatch, error):
    def fail(data):
        raise error

    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    with pytest.raises(ImageError, match=r"unreadable: (x|'x'|\w+Error)"):
        decode(screens.png(np.zeros((4, 4), np.uint8)))


def test_files_cut_anywhere_and_with_any_byte_changed_raise_nothing_else():
    rng = np.random.default_rng(0)
    x = screens.pixels(0, 0, 0, size=32)
    for data in (
        screens.png(x), screens.jp2(x), bytes(imagecodecs.jpeg_encode(x)), screens.npz(image=x),
        tiff(x, compression="zlib"), tiff(x), tiff(x, compression="jpeg"),
    ):  # fmt: skip
        for _ in range(60):
            broken = bytearray(data[: rng.integers(1, len(data) + 1)])
            broken[rng.integers(len(broken))] = rng.integers(256)
            try:
                decode(bytes(broken))
            except ImageError:
                continue


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.tiff")
    (tmp_path / "folder.tiff").mkdir()
    for name in ("pipe.tiff", "folder.tiff"):
        with pytest.raises(ImageError, match="it is no file"):
            SourceReader()(Source(tmp_path / name))
    with pytest.raises(ImageError, match="No such file"):
        SourceReader()(Source(tmp_path / "none.tiff"))
