"""Each layout finds its fields, with their pixels in the right places."""

import gzip

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.images import ImagesError, ImageSource, find_fields
from molphenix_jax.tables.names import row_column_name, well_name
from tests.images import screens


def by_place(found) -> dict:
    return {(*field.place, field.field): found.read(field) for field in found.fields}


def treatment(found) -> pd.DataFrame:
    return found.metadata.table.set_index(["batch", "plate", "well"])


def test_gallery_joins_the_channels_of_a_field(tmp_path):
    root = screens.gallery(tmp_path / "images")
    table = screens.treatments(tmp_path / "treatments.csv")
    found = find_fields(ImageSource("gallery", root, metadata=table))
    images = by_place(found)
    assert len(images) == 12
    assert found.shape == (3, screens.SIZE, screens.SIZE)
    image = images["2021_04_26_Batch1", "BR00117036", "B01", "2"]
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[2], screens.pixels(2, 2, 3, np.uint16))
    wells = treatment(found)
    assert wells.loc[("2021_04_26_Batch1", "BR00117035", "B01"), "concentration_um"] == 2.5
    assert wells.loc[("2021_04_26_Batch1", "BR00117035", "A01"), "control_type"] == "negcon"


def test_gallery_takes_some_channels_in_the_order_asked_for(tmp_path):
    root = screens.gallery(tmp_path / "images")
    found = find_fields(ImageSource("gallery", root, channels=("3", "1")))
    image = found.read(found.fields[0])
    np.testing.assert_array_equal(image[0], screens.pixels(0, 1, 3, np.uint16))
    np.testing.assert_array_equal(image[1], screens.pixels(0, 1, 1, np.uint16))
    with pytest.raises(ImagesError, match="no channel '7'; there are 1, 2, 3"):
        find_fields(ImageSource("gallery", root, channels=("7",)))


def test_gallery_rejects_a_field_that_lacks_a_channel(tmp_path):
    root = screens.gallery(tmp_path / "images")
    next(root.rglob("BR00117035*/Images/r01c02f02p01-ch2*")).unlink()
    found = find_fields(ImageSource("gallery", root))
    assert len(found.fields) == 11
    (rejection,) = found.rejected
    assert rejection[2:] == ("BR00117035", "A02", "2", "no file for channel 2")


def test_gallery_takes_the_first_focal_plane(tmp_path):
    root = screens.gallery(tmp_path / "images")
    for path in list(root.rglob("*p01-ch*")):
        (path.parent / path.name.replace("p01", "p02")).write_bytes(b"not read")
    found = find_fields(ImageSource("gallery", root))
    assert len(by_place(found)) == 12
    assert any("36 files of other planes are left out" in note for note in found.notes)


def test_load_data_names_the_files_of_any_microscope(tmp_path):
    root = tmp_path / "images"
    rows = []
    for i, plate in enumerate(["P1", "P2"]):
        folder = root / plate
        folder.mkdir(parents=True)
        row = {"Metadata_Plate": plate, "Metadata_Well": "a1", "Metadata_Site": 1,
               "Metadata_smiles": screens.ETHANOL}  # fmt: skip
        for c, name in enumerate(["DNA", "ER"]):
            # The same name on both plates; the path is that of another machine.
            (folder / f"a01_s1_w{c}.png").write_bytes(screens.png(screens.pixels(i, 1, c)))
            row[f"FileName_Orig{name}"] = f"a01_s1_w{c}.png"
            row[f"PathName_Orig{name}"] = f"/home/ubuntu/bucket/{plate}"
        rows.append(row)
    index = tmp_path / "load_data.csv.gz"
    index.write_bytes(gzip.compress(pd.DataFrame(rows).to_csv(index=False).encode()))
    found = find_fields(ImageSource("gallery", root, index, channels=("ER", "DNA")))
    images = by_place(found)
    assert list(images) == [("", "P1", "A01", "1"), ("", "P2", "A01", "1")]
    np.testing.assert_array_equal(images["", "P2", "A01", "1"][0], screens.pixels(1, 1, 1))
    assert treatment(found)["smiles"].tolist() == [screens.ETHANOL] * 2


@pytest.mark.parametrize("nested", [True, False])
def test_rxrx3_core_reads_its_shards(tmp_path, nested):
    root = screens.rxrx3(tmp_path / "data", nested=nested)
    metadata = screens.rxrx3_metadata(tmp_path / "metadata_rxrx3_core.csv")
    found = find_fields(ImageSource("rxrx3-core", root, metadata=metadata))
    images = by_place(found)
    assert set(images) == {
        ("compound-001", "1", "AA04", "1"),
        ("compound-001", "1", "B02", "1"),
        ("compound-001", "2", "AA04", "1"),
    }
    for well, place in enumerate([("1", "AA04"), ("1", "B02"), ("2", "AA04")]):
        expected = [screens.pixels(well, 1, c) for c in range(1, 7)]
        np.testing.assert_array_equal(images["compound-001", *place, "1"], expected)
    wells = treatment(found)
    assert wells.loc[("compound-001", "1", "B02"), "concentration_um"] == 0.25
    assert wells.loc[("compound-001", "1", "AA04"), "treatment"] == "EMPTY_control"


def test_rxrx3_core_rejects_a_damaged_shard_and_a_strange_key(tmp_path):
    root = screens.rxrx3(tmp_path / "data", nested=False)
    (root / "train-00002-of-00002.parquet").write_bytes(b"PAR1 cut off")
    table = pd.read_parquet(root / "train-00001-of-00002.parquet")
    table.loc[9, "__key__"] = "readme"
    table.to_parquet(root / "train-00001-of-00002.parquet")
    found = find_fields(ImageSource("rxrx3-core", root))
    assert len(found.fields) == 2
    reasons = [r.reason for r in found.rejected]
    assert any("unreadable" in r for r in reasons)
    assert any("'readme' is not" in r for r in reasons)
    assert any("no file for channel 6" in r for r in reasons)


def test_bray2017_reads_fields_by_their_sample_key(tmp_path):
    root, index = screens.bray2017(tmp_path / "npz")
    found = find_fields(ImageSource("bray2017", root, index, channels=("5", "1")))
    images = by_place(found)
    assert found.shape == (2, 520, 696)
    assert len(images) == 6
    image = images["", "24277", "P24", "2"]
    np.testing.assert_array_equal(image[0], screens.pixels(1, 2, 4, size=696)[:520])
    wells = treatment(found)
    assert wells.loc[("", "26795", "A01"), "smiles"] == screens.ETHANOL
    assert len(find_fields(ImageSource("bray2017", root)).fields) == 6


def test_table_of_single_channel_files(tmp_path):
    rows = []
    for channel in ("DNA", "Mito"):
        name = f"x_{channel}.png"
        data = screens.png(screens.pixels(0, 1, len(channel)))
        (tmp_path / name).write_bytes(data)
        rows.append({"path": name, "plate": "P", "well": "B2", "field": 1, "channel": channel,
                     "smiles": screens.ETHANOL, "concentration_nM": 500})  # fmt: skip
    index = tmp_path / "index.csv"
    pd.DataFrame(rows).to_csv(index, index=False, sep=";")
    found = find_fields(ImageSource("table", tmp_path, index))
    image = by_place(found)["", "P", "B02", "1"]
    np.testing.assert_array_equal(image[1], screens.pixels(0, 1, 4))
    assert treatment(found)["concentration_um"].tolist() == [0.5]


def test_table_of_one_array(tmp_path):
    images = np.stack([[screens.pixels(i, 0, c) for c in range(2)] for i in range(3)])
    (tmp_path / "x.npz").write_bytes(screens.npz(images=images))
    index = tmp_path / "meta.csv"
    pd.DataFrame({"compound": list("abb"), "site": ["r14c09f05", "r04c14f05", "r04c14f06"]}).to_csv(
        index, index=False
    )
    more = tmp_path / "compounds.csv"
    pd.DataFrame({"compound": list("ab"), "SMILES": ["C", ""]}).to_csv(more, index=False)
    found = find_fields(ImageSource("table", tmp_path / "x.npz", index, more))
    np.testing.assert_array_equal(by_place(found)["", "", "D14", "5"], images[1])
    assert treatment(found).loc[("", "", "N09"), "smiles"] == "C"
    pd.DataFrame({"well": ["A1"], "site": [1]}).to_csv(index, index=False)
    with pytest.raises(ImagesError, match="holds 3 images, .* 1 rows"):
        find_fields(ImageSource("table", tmp_path / "x.npz", index))


def test_wells_without_a_treatment_are_rejected(tmp_path):
    root = screens.gallery(tmp_path / "images")
    path = screens.treatments(tmp_path / "treatments.csv")
    frame = pd.read_csv(path)
    frame[frame["Metadata_Well"] != "A02"].to_csv(path, index=False)
    found = find_fields(ImageSource("gallery", root, metadata=path))
    assert len(found.fields) == 8
    assert {r.well for r in found.rejected} == {"A02"}
    assert all("the well is not in" in r.reason for r in found.rejected)
    frame["Metadata_Plate"] = "another"
    frame.to_csv(path, index=False)
    with pytest.raises(ImagesError, match="knows none of the wells; images have .*BR00117035"):
        find_fields(ImageSource("gallery", root, metadata=path))


@pytest.mark.parametrize(
    ("layout", "names", "reason"),
    [
        ("gallery", [], "no image of this layout"),
        ("rxrx3-core", [], "no Parquet shard"),
        ("bray2017", [], "no .npz file"),
        ("gallery", None, "no such folder"),
        ("table", [], "needs --index"),
    ],
)
def test_a_folder_without_images_is_an_error(tmp_path, layout, names, reason):
    folder = tmp_path if names is not None else tmp_path / "none"
    with pytest.raises(ImagesError, match=reason):
        find_fields(ImageSource(layout, folder))


def test_names_of_wells():
    assert [well_name(t) for t in ("a1", "A01", "AA15", "p-024", "x")] == [
        "A01", "A01", "AA15", "P24", "x",
    ]  # fmt: skip
    assert row_column_name(16, 24) == "P24"
    assert row_column_name(27, 4) == "AA04"


@pytest.mark.parametrize("order", [("P1", "P2"), ("P2", "P1")])
def test_load_data_takes_no_file_of_another_plate_for_one_that_is_lost(tmp_path, order):
    root = tmp_path / "images"
    rows = []
    for plate in order:
        (root / plate).mkdir(parents=True)
        for site in (1, 2):
            name = f"a01_s{site}.png"
            if (plate, site) != ("P1", 2):
                image = screens.pixels(int(plate[1]), site, 0)
                (root / plate / name).write_bytes(screens.png(image))
            rows.append({"Metadata_Plate": plate, "Metadata_Well": "A01", "Metadata_Site": site,
                         "FileName_DNA": name, "PathName_DNA": f"/data/{plate}"})  # fmt: skip
    index = tmp_path / "load_data.csv"
    pd.DataFrame(rows).to_csv(index, index=False)
    found = find_fields(ImageSource("gallery", root, index))
    images = {(f.plate, f.field): found.read(f) for f in found.fields}
    assert set(images) == {("P1", "1"), ("P2", "1"), ("P2", "2")}
    np.testing.assert_array_equal(images["P2", "2"][0], screens.pixels(2, 2, 0))
    (rejection,) = found.rejected
    assert (rejection.plate, rejection.field) == ("P1", "2")
    assert "a01_s2.png lies only in" in rejection.reason


def test_a_file_that_load_data_lists_for_two_wells_is_that_of_neither(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    rows = []
    for well, name in [("A01", "x.png"), ("A02", "x.png"), ("A03", "y.png")]:
        (root / name).write_bytes(screens.png(screens.pixels(1, 1, 0)))
        rows.append({"Metadata_Plate": "P", "Metadata_Well": well, "FileName_DNA": name})
    index = tmp_path / "load_data.csv"
    pd.DataFrame(rows).to_csv(index, index=False)
    found = find_fields(ImageSource("gallery", root, index))
    assert [field.well for field in found.fields] == ["A03"]
    assert [r.well for r in found.rejected] == ["A01", "A02"]
    assert "the file is listed for P A02" in found.rejected[0].reason


def test_a_damaged_packed_listing_is_a_sentence(tmp_path):
    index = tmp_path / "load_data.csv.gz"
    packed = gzip.compress(b"Metadata_Plate,Metadata_Well,FileName_DNA\n" * 99)
    for content in (packed[:20] + b"\xff" * 9 + packed[29:], packed[:-12]):
        index.write_bytes(content)
        with pytest.raises(InputError, match=r"load_data\.csv\.gz"):
            find_fields(ImageSource("gallery", tmp_path, index))
