"""Images of one field never replace each other: one is taken, the others are named."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.images import ImagesError, ImageSource, Take, find_fields
from tests.images import screens


def plate(root: pathlib.Path, folder: str, well: int, names: list[str]) -> None:
    """Files of one measurement; the pixels tell which one it is."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        channel = int(name.partition("-ch")[2][0])
        data = screens.png(screens.pixels(well, 1, channel))
        (root / folder / f"{name}.png").write_bytes(data)


def reasons(found) -> list[tuple[str, str]]:
    return [(pathlib.Path(r.file).parent.parent.name, r.reason) for r in found.rejected]


BOTH = ["r01c01f01p01-ch1sk1fk1fl1", "r01c01f01p01-ch2sk1fk1fl1"]
FIRST, SECOND = "P1__2020-01-01T00_00_00-Measurement1", "P1__2020-01-02T00_00_00-Measurement2"


def test_of_two_measurements_the_first_is_taken_and_the_other_named(tmp_path):
    """The case img_two_measurements."""
    plate(tmp_path, f"{FIRST}/Images", 0, BOTH)
    plate(tmp_path, f"{SECOND}/Images", 1, BOTH)
    found = find_fields(ImageSource("gallery", tmp_path))
    (field,) = found.fields
    np.testing.assert_array_equal(found.read(field)[0], screens.pixels(0, 1, 1))
    ((folder, reason),) = reasons(found)
    assert folder == SECOND
    assert "imaged again: taken is time point 1 of" in reason
    assert any(f"{SECOND}/Images (1)" in note for note in found.notes)
    other = find_fields(ImageSource("gallery", tmp_path / SECOND))
    np.testing.assert_array_equal(other.read(other.fields[0])[0], screens.pixels(1, 1, 1))
    assert not other.rejected


def test_channels_of_two_measurements_are_not_mixed(tmp_path):
    plate(tmp_path, f"{FIRST}/Images", 0, BOTH[:1])
    plate(tmp_path, f"{SECOND}/Images", 1, BOTH)
    found = find_fields(ImageSource("gallery", tmp_path))
    image = found.read(found.fields[0])
    np.testing.assert_array_equal(image, [screens.pixels(1, 1, c) for c in (1, 2)])
    assert [folder for folder, _ in reasons(found)] == [FIRST]


def test_of_several_time_points_the_first_is_taken_and_the_others_named(tmp_path):
    plate(tmp_path, f"{FIRST}/Images", 0, BOTH)
    for time in (2, 3):
        plate(tmp_path, f"{FIRST}/Images", time, [n.replace("sk1", f"sk{time}") for n in BOTH])
    found = find_fields(ImageSource("gallery", tmp_path))
    np.testing.assert_array_equal(found.read(found.fields[0])[1], screens.pixels(0, 1, 2))
    assert len(found.fields) == 1
    assert len(found.rejected) == 2
    assert any("time point 2 (1), time point 3 (1)" in note for note in found.notes)


def test_another_time_point_and_plane_can_be_chosen(tmp_path):
    plate(tmp_path, f"{FIRST}/Images", 0, BOTH)
    for well, part, other in ((1, "sk1", "sk2"), (2, "p01", "p03")):
        plate(tmp_path, f"{FIRST}/Images", well, [n.replace(part, other) for n in BOTH])
    plate(tmp_path, f"{FIRST}/Images", 0, [n.replace("r01", "r02") for n in BOTH])
    for take, well in ((Take(), 0), (Take("1", "1"), 0), (Take("02"), 1), (Take(plane="3"), 2)):
        found = find_fields(ImageSource("gallery", tmp_path, take=take))
        np.testing.assert_array_equal(found.read(found.fields[0])[0], screens.pixels(well, 1, 1))
        assert not any("imaged again" in reason for _, reason in reasons(found)) or not any(take)
    assert [r.well for r in found.rejected] == ["B01"]
    assert found.rejected[0].reason == "the field has no image of plane 3"
    assert any("of each field plane 3 is taken" in note for note in found.notes)
    with pytest.raises(ImagesError, match="has time point 9; there are time points 1, 2 and pl"):
        find_fields(ImageSource("gallery", tmp_path, take=Take("9")))
    for layout in ("rxrx3-core", "bray2017"):
        with pytest.raises(ImagesError, match="has no time points or planes: plane 2 cannot"):
            find_fields(ImageSource(layout, tmp_path, take=Take(plane="2")))


@pytest.mark.parametrize("layout", ["gallery", "table", "array"])
def test_rows_of_a_listing_are_chosen_by_its_columns(tmp_path, layout):
    images = [screens.pixels(i, 1, 1) for i in range(4)]
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(screens.png(image))
    files = [f"{i}.png" for i in range(4)]
    frame = pd.DataFrame(
        {"well": "A1", "site": 1, "TimePoint": ["24", "48"] * 2, "z": [1, 1, 2, 2]}
    )
    index, path = tmp_path / "index.csv", tmp_path
    if layout == "array":
        path = tmp_path / "x.npz"
        np.savez(path, np.stack(images)[:, None])
    else:
        frame[{"gallery": "FileName_OrigDNA", "table": "path"}[layout]] = files
    frame.to_csv(index, index=False)
    name = "gallery" if layout == "gallery" else "table"
    for time, plane, want in (("24", "1", 0), ("48", "2", 3), ("", "02", 2), ("48", "", 1)):
        found = find_fields(ImageSource(name, path, index, take=Take(time, plane)))
        (field,) = found.fields
        np.testing.assert_array_equal(found.read(field)[0], images[want])
    with pytest.raises(ImagesError, match="no row has time point 72; 'TimePoint' holds 24, 48"):
        find_fields(ImageSource(name, path, index, take=Take("72")))
    frame.drop(columns="z").to_csv(index, index=False)
    with pytest.raises(ImagesError, match="no column tells planes; its columns are well, site"):
        find_fields(ImageSource(name, path, index, take=Take("24", "1")))


def test_channels_on_planes_of_their_own_make_a_field_and_are_said(tmp_path):
    plate(tmp_path, f"{FIRST}/Images", 0, [BOTH[0], BOTH[0].replace("p01", "p03")])
    plate(tmp_path, f"{FIRST}/Images", 0, [BOTH[1].replace("p01", "p02")])
    found = find_fields(ImageSource("gallery", tmp_path))
    assert len(found.fields) == 1
    assert any("1 files of other planes are left out" in note for note in found.notes)
    assert any("in 1 fields the channels lie on different" in note for note in found.notes)


def test_a_file_in_two_formats_is_named(tmp_path):
    plate(tmp_path, f"{FIRST}/Images", 0, BOTH)
    folder = tmp_path / FIRST / "Images"
    shutil.copy(folder / f"{BOTH[0]}.png", folder / f"{BOTH[0]}.tiff")
    found = find_fields(ImageSource("gallery", tmp_path))
    assert [r.reason for r in found.rejected] == [
        f"channel 1 of this field is there twice: taken is {BOTH[0]}.png"
    ]


@pytest.fixture
def listed(tmp_path):
    """A load_data.csv of two plates whose files have the same names."""

    def make(folders: list[str], rows: list[tuple[str, str]]) -> ImageSource:
        for i, folder in enumerate(folders):
            (tmp_path / "images" / folder).mkdir(parents=True)
            data = screens.png(screens.pixels(i, 1, 1))
            (tmp_path / "images" / folder / "a.png").write_bytes(data)
        frame = pd.DataFrame(rows, columns=["Metadata_Plate", "PathName_OrigDNA"])
        frame = frame.assign(Metadata_Well="A01", Metadata_Site=1, FileName_OrigDNA="a.png")
        frame.to_csv(tmp_path / "load_data.csv", index=False)
        return ImageSource("gallery", tmp_path / "images", tmp_path / "load_data.csv")

    return make


def test_load_data_takes_the_first_of_rows_of_one_field(listed):
    found = find_fields(listed(["P1/m1", "P1/m2"], [("P1", "/x/P1/m1"), ("P1", "/x/P1/m2")]))
    np.testing.assert_array_equal(found.read(found.fields[0])[0], screens.pixels(0, 1, 1))
    assert [r.reason for r in found.rejected] == [
        "data row 2: this field is listed twice, the first row is taken"
    ]


def test_load_data_tells_folders_by_the_end_of_their_path_or_refuses(listed):
    folders = ["P1/m1", "P1/m2", "P10", "P3/m1", "P3/m2"]
    rows = [("P1", "/x/P1/m2"), ("P10", "/x/y"), ("P2", "/x/y"), ("P3", "/x/y")]
    found = find_fields(listed(folders, rows))
    images = {field.plate: found.read(field)[0] for field in found.fields}
    assert set(images) == {"P1", "P10"}
    np.testing.assert_array_equal(images["P1"], screens.pixels(1, 1, 1))
    np.testing.assert_array_equal(images["P10"], screens.pixels(2, 1, 1))
    of_another, of_two = found.rejected
    assert (of_another.plate, of_two.plate) == ("P2", "P3")
    assert "a.png lies only in" in of_another.reason
    assert "a.png lies in several folders" in of_two.reason


def test_load_data_gives_one_file_to_one_field(listed):
    found = find_fields(listed(["P1"], [("P1", "/x"), ("P2", "/x")]))
    assert [field.plate for field in found.fields] == ["P1"]
    assert "which is called neither as the plate (P2) nor" in found.rejected[0].reason


def test_rxrx3_core_names_an_image_of_two_shards(tmp_path):
    root = screens.rxrx3(tmp_path / "data", nested=False)
    shutil.copy(root / "train-00001-of-00002.parquet", root / "train-00002-of-00002.parquet")
    found = find_fields(ImageSource("rxrx3-core", root))
    assert len(found.fields) == 3
    assert len(found.rejected) == 10
    assert "train-00001-of-00002.parquet[0] already" in found.rejected[0].reason


def test_bray2017_names_a_field_of_two_folders_and_two_spellings(tmp_path):
    root, _ = screens.bray2017(tmp_path / "npz")
    (root / "z").mkdir()
    shutil.copy(root / "24277-a01-1.npz", root / "z")
    shutil.copy(root / "24277-p24-1.npz", root / "24277-P24-1.npz")
    found = find_fields(ImageSource("bray2017", root))
    assert len(found.fields) == 6
    assert sorted((r.well, r.field) for r in found.rejected) == [("A01", "1"), ("P24", "1")]
