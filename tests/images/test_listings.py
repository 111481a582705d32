"""Listings and tables of treatments: each file shows one field, each well has one treatment."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile

from molphenix_jax.images import ImagesError, ImageSource, find_fields
from molphenix_jax.images.files import ImageError, Source, SourceReader
from tests.images import screens


@pytest.fixture
def listing(tmp_path):
    """Three wells of one plate with two fields of two channels, as the layouts list them."""
    rows = []
    for well, name in enumerate(["A01", "A02", "B01"]):
        for field in (1, 2):
            for channel in ("DNA", "ER"):
                path = f"{name}_{field}_{channel}.png"
                image = screens.pixels(well, field, len(channel))
                (tmp_path / path).write_bytes(screens.png(image))
                rows.append([path, "P1", name, field, channel, ["", "CCO", "CCCO"][well], well])
    columns = ["path", "plate", "well", "field", "channel", "smiles", "dose_um"]
    return pd.DataFrame(rows, columns=columns).astype({"dose_um": object})


def fields_of(folder: pathlib.Path, frame: pd.DataFrame, layout: str):
    index = folder / "index.csv"
    if layout == "stacked":
        frame = frame[frame["channel"] == "DNA"].drop(columns="channel")
    if layout == "load_data":
        keys = [name for name in frame if name not in ("path", "channel")]
        frame = frame.pivot(index=keys, columns="channel", values="path").reset_index()
        frame = frame.rename(columns={"DNA": "FileName_OrigDNA", "ER": "FileName_OrigER"})
    frame.to_csv(index, index=False)
    return find_fields(ImageSource("gallery" if layout == "load_data" else "table", folder, index))


LISTED = pytest.mark.parametrize("layout", ["load_data", "table", "stacked"])


@LISTED
def test_a_file_that_is_listed_for_two_wells_is_that_of_neither(tmp_path, listing, layout):
    of = {well: listing.index[listing["well"] == well] for well in ("A02", "B01")}
    spelled = "" if layout == "load_data" else "./"
    listing.loc[of["B01"], "path"] = spelled + listing.loc[of["A02"], "path"].to_numpy()
    found = fields_of(tmp_path, listing, layout)
    assert {field.well for field in found.fields} == {"A01"}
    assert {rejection.well for rejection in found.rejected} == {"A02", "B01"}
    assert "the file is listed for P1 B01 1 too" in found.rejected[0].reason


@pytest.mark.parametrize("layout", ["load_data", "table"])
def test_a_file_that_is_listed_as_two_channels_is_neither(tmp_path, listing, layout):
    at = listing.index[(listing["well"] == "B01") & (listing["channel"] == "ER")]
    listing.loc[at, "path"] = [path.replace("_ER", "_DNA") for path in listing.loc[at, "path"]]
    found = fields_of(tmp_path, listing, layout)
    assert {field.well for field in found.fields} == {"A01", "A02"}
    assert {rejection.well for rejection in found.rejected} == {"B01"}
    assert "the file is listed for channel ER too" in found.rejected[0].reason


def test_paths_are_found_as_windows_writes_them(tmp_path, listing):
    """In a column of paths, and in a load_data.csv from another machine."""
    for plate in ("P1", "P2"):  # whose files bear the same names
        (tmp_path / "im" / plate).mkdir(parents=True)
        for path in listing["path"]:
            shutil.copy(tmp_path / path, tmp_path / "im" / plate / path)
    for path in listing["path"]:
        (tmp_path / path).unlink()
    frame = pd.concat([listing, listing.assign(plate="P2")], ignore_index=True)
    paths = "im\\" + frame["plate"] + "\\" + frame["path"]
    found = fields_of(tmp_path, frame.assign(path=paths), "table")
    assert {s.path.parent.name for f in found.fields for s in f.sources} == {"P1", "P2"}
    keys = ["plate", "well", "field", "smiles", "dose_um"]
    wide = frame.pivot(index=keys, columns="channel", values="path").reset_index()
    wide["plate"] = wide["plate"].map({"P1": "a", "P2": "b"})
    for channel in ("DNA", "ER"):
        folders = "D:\\data\\" + wide["plate"].map({"a": "P1", "b": "P2"})
        wide = wide.rename(columns={channel: f"FileName_Orig{channel}"})
        wide[f"PathName_Orig{channel}"] = folders
    wide.to_csv(tmp_path / "l.csv", index=False)
    found = find_fields(ImageSource("gallery", tmp_path, tmp_path / "l.csv"))
    assert len(found.fields) == 12
    folder_of = {f.plate: {s.path.parent.name for s in f.sources} for f in found.fields}
    assert folder_of == {"a": {"P1"}, "b": {"P2"}}


def test_illumination_functions_are_no_channels(tmp_path, listing):
    """They are one file for a whole plate."""
    keys = ["plate", "well", "field", "smiles", "dose_um"]
    frame = listing.pivot(index=keys, columns="channel", values="path").reset_index()
    frame = frame.rename(columns={"DNA": "FileName_OrigDNA", "ER": "FileName_OrigER"})
    frame.assign(FileName_IllumDNA="P1_IllumDNA.npy").to_csv(tmp_path / "l.csv", index=False)
    found = find_fields(ImageSource("gallery", tmp_path, tmp_path / "l.csv"))
    assert len(found.fields) == 6
    assert found.shape[0] == 2
    assert any("FileName_IllumDNA names illumination functions" in note for note in found.notes)


@LISTED
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("smiles", "CCCO", "c1ccccc1"), ("dose_um", "2", "20"), ("cell_line", "U2OS", "A549")],
)
def test_images_of_one_well_have_one_treatment(tmp_path, listing, layout, name, first, second):
    listing[name] = listing.get(name, first)
    listing.loc[(listing["well"] == "B01") & (listing["field"] == 2), name] = second
    with pytest.raises(
        ImagesError, match=rf"of one well \(P1 B01\) and differ in '{name}': '{first}"
    ):
        fields_of(tmp_path, listing, layout)


@LISTED
def test_gaps_are_filled_and_what_differs_by_field_says_nothing_of_a_well(
    tmp_path, listing, layout
):
    listing.loc[listing["field"] == 1, "smiles"] = ""
    listing.loc[listing["field"] == 2, "dose_um"] = [f"{d}.0" for d in (0, 0, 1, 1, 2, 2)]
    listing["StageX"] = listing["field"] * 0.5
    found = fields_of(tmp_path, listing, layout)
    told = found.metadata.table.set_index("well")
    assert told["smiles"].to_dict() == {"A01": "", "A02": "CCO", "B01": "CCCO"}
    assert told["concentration_um"].to_dict() == {"A01": 0, "A02": 1, "B01": 2}
    assert "StageX" not in told
    assert any("images of one well differ in it: StageX" in note for note in found.notes)


def test_a_listed_image_without_a_path_is_named(tmp_path, listing):
    listing.loc[3, "path"] = ""
    with pytest.raises(ImagesError, match=r"data row 4 has no 'path' \(1 such rows\)"):
        fields_of(tmp_path, listing, "table")


@pytest.mark.parametrize("spelled", ["007", "7.0", " 7", "Plate7"])
def test_plates_and_wells_of_treatments_are_compared_however_spelled(tmp_path, spelled):
    folder = tmp_path / "images" / "7" / "Images"
    folder.mkdir(parents=True)
    for name in ("r01c01f01p01-ch1", "r01c02f01p01-ch1"):
        (folder / f"{name}.png").write_bytes(screens.png(screens.pixels(0, 1, 1)))
    frame = pd.DataFrame({"plate": spelled, "row": "A", "col": ["1", "02"], "smiles": ["", "CCO"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = ImageSource("gallery", tmp_path / "images", metadata=tmp_path / "t.csv")
    found = find_fields(source)
    assert found.metadata.table[["plate", "well", "smiles"]].to_numpy().tolist() == [
        ["7", "A01", ""],
        ["7", "A02", "CCO"],
    ]
    # 7 and 007 that are both there are two plates.
    other = tmp_path / "images" / "007" / "Images"
    shutil.copytree(folder, other)
    two = frame.assign(plate="7", smiles="CCO"), frame.assign(plate="007", smiles="CCN")
    pd.concat(two).to_csv(tmp_path / "t.csv", index=False)
    told = find_fields(source).metadata.table
    assert dict(zip(told["plate"], told["smiles"], strict=True)) == {"7": "CCO", "007": "CCN"}


def test_a_tiff_of_several_images_is_refused_and_smaller_copies_are_not(tmp_path):
    image, path = screens.pixels(0, 1, 1), tmp_path / "x.tiff"
    with tifffile.TiffWriter(path) as file:
        file.write(image[::2, ::2], subfiletype=1)
        file.write(image)
    np.testing.assert_array_equal(SourceReader()(Source(path)), image)
    with tifffile.TiffWriter(path) as file:
        file.write(image, subifds=1)
        file.write(image[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(SourceReader()(Source(path)), image)
    with tifffile.TiffWriter(path) as file:
        file.write(image[:8, :8])
        file.write(image)
    with pytest.raises(ImageError, match=r"holds 2 images \(8x8, 24x24\)"):
        SourceReader()(Source(path))
