"""What a channel is: no transparency, no palette, not white where it is dark, not blank."""

import io

import numpy as np
import pandas as pd
import pytest
import tifffile

from molphenix_jax.images.fields import FieldReader
from molphenix_jax.images.files import ImageError, decode
from molphenix_jax.images.found import ImageSource, find_fields
from tests.images import screens

IMAGE = screens.pixels(0, 1, 1)
CLEAR = np.full_like(IMAGE, 255)


def tiff(image: np.ndarray, **how) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **how)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        screens.png(np.dstack([IMAGE, IMAGE + 1, IMAGE + 2, CLEAR])),
        tiff(np.dstack([IMAGE, IMAGE + 1, IMAGE + 2, CLEAR]), photometric="rgb"),
    ],
    ids=["png", "tiff"],
)
def test_transparency_is_no_channel(data):
    np.testing.assert_array_equal(decode(data), np.dstack([IMAGE, IMAGE + 1, IMAGE + 2]))


def test_transparency_apart_from_colours_and_beside_grey_is_none_either():
    four = np.stack([IMAGE, IMAGE + 1, IMAGE + 2, CLEAR])
    apart = tiff(four, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(decode(apart), four[:3])
    grey = screens.png(np.dstack([IMAGE, CLEAR]))
    np.testing.assert_array_equal(decode(grey)[..., 0], IMAGE)


def test_a_fourth_channel_that_varies_is_one_in_a_tiff_and_refused_in_a_png():
    four = np.dstack([IMAGE, IMAGE + 1, IMAGE + 2, IMAGE + 3])
    np.testing.assert_array_equal(decode(tiff(four, photometric="rgb")), four)
    np.testing.assert_array_equal(decode(tiff(four, photometric="rgb", extrasamples=[0])), four)
    with pytest.raises(ImageError, match="has transparency, which differs"):
        decode(screens.png(four))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_0_is_white_it_is_black_here(dtype):
    image = screens.pixels(0, 1, 1, dtype)
    white = np.iinfo(dtype).max - image
    found = decode(tiff(white, photometric="miniswhite"))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)
    with pytest.raises(ImageError, match="0 is white in it"):
        decode(tiff(image.astype(np.float32), photometric="miniswhite"))


def test_numbers_of_colours_are_brightness_only_where_they_grow_brighter():
    ramp = np.arange(256, dtype=np.uint16) * 257
    grey, green = np.stack([ramp] * 3), np.stack([0 * ramp, ramp, 0 * ramp])
    for colours in (grey, green):
        data = tiff(IMAGE, photometric="palette", colormap=colours)
        np.testing.assert_array_equal(decode(data), IMAGE)
    with pytest.raises(ImageError, match="numbers of colours in a palette"):
        decode(tiff(IMAGE, photometric="palette", colormap=grey[:, ::-1]))


PIXELS = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
    '<Image ID="I"><Pixels ID="P" DimensionOrder="XYCZT" Type="uint8" SizeX="24" SizeY="24" '
    'SizeC="2" SizeZ="1" SizeT="1">'
    '<Channel ID="C0" SamplesPerPixel="1"/><Channel ID="C1" SamplesPerPixel="1"/>{}{}'
    "</Pixels></Image></OME>"
)


def test_planes_that_lie_in_other_files_are_no_blank_channels():
    """Of an OME-TIFF in several files each holds its own planes, and tells of all."""
    own, others = (
        f'<TiffData FirstC="{c}" IFD="0"><UUID FileName="{name}">urn:uuid:{c + 1}</UUID></TiffData>'
        for c, name in enumerate(("a.ome.tif", "b.ome.tif"))
    )
    one_of_two = tiff(IMAGE, description=PIXELS.format(own, others), metadata=None)
    np.testing.assert_array_equal(decode(one_of_two), IMAGE)
    cut = PIXELS.format('<TiffData FirstC="0" IFD="0"/>', '<TiffData FirstC="1" IFD="1"/>')
    with pytest.raises(ImageError, match="names 2 planes, and 1 are not there"):
        decode(tiff(IMAGE, description=cut, metadata=None))
    both = tiff(np.stack([IMAGE, IMAGE + 1]), description=cut, metadata=None)
    np.testing.assert_array_equal(decode(both), np.stack([IMAGE, IMAGE + 1]))


def screen(folder, change) -> ImageSource:
    """Four wells of three channels in files of their own."""
    rows = []
    for well in range(4):
        for channel, image in enumerate(
            change(well, [screens.pixels(well, 1, c) for c in range(3)])
        ):
            name = f"{well}-{channel}.png"
            (folder / name).write_bytes(screens.png(image))
            rows.append(("P", f"A{well + 1}", "CCO", channel, name))
    columns = ["plate", "well", "smiles", "channel", "path"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "t.csv", index=False)
    return ImageSource("table", folder, index=folder / "t.csv")


def unreadable(reader: FieldReader, fields) -> dict[str, tuple[str, str]]:
    found = {}
    for field in fields:
        try:
            reader(field)
        except ImageError as error:
            found[field.well] = (error.source.path.name, str(error))
    return found


def test_a_field_that_shows_nothing_in_a_channel_or_one_of_them_twice_is_rejected(tmp_path):
    def change(well, images):
        blank = np.full_like(images[0], 7)
        if well == 0:
            return [blank] * 3
        if well == 1:
            return [images[0], blank, images[2]]
        return [images[0], images[1], images[0]] if well == 2 else images

    found = find_fields(screen(tmp_path, change))
    assert unreadable(found.read, found.fields) == {
        "A01": ("0-0.png", "channel 1, 2, 3 shows nothing: all pixels are one number"),
        "A02": ("1-1.png", "channel 2 shows nothing: all pixels are one number"),
        "A03": ("2-2.png", "channel 3 is the image of channel 1 again"),
    }


def test_what_all_fields_lack_is_said_once(tmp_path):
    found = find_fields(screen(tmp_path, lambda _, images: [images[0], 0 * images[1], images[0]]))
    assert not unreadable(found.read, found.fields)
    assert (
        "in all fields looked at channel 2 shows nothing: all pixels are one number; channel 3 is "
        "the image of channel 1 again"
    ) in found.notes
