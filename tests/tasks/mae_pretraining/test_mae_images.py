"""Images and their table become arrays; what cannot be used ends in a sentence."""

import gzip
import pathlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.tables.formats import unpacked
from molphenix_jax.tasks.mae_pretraining.config import COLUMNS
from molphenix_jax.tasks.mae_pretraining.images import (
    ImagesFileError,
    grid_crops,
    held_back,
    random_crops,
    read_images,
)

NO_COLUMNS = dict.fromkeys(COLUMNS, "")


def write(folder: pathlib.Path, *, dtype=np.uint8, n=8) -> pathlib.Path:
    rng = np.random.default_rng(0)
    path = folder / "screen_8_u8.npz"
    np.savez(path, images=rng.integers(0, 200, (n, 2, 24, 20)).astype(dtype))
    table = {
        "plate": [f"P{i // 4}" for i in range(n)],
        "Metadata_Well": [f"A{i // 2 % 2}" for i in range(n)],
        "broad_id": [None if i // 2 % 2 else "BRD-1" for i in range(n)],
        "is_control": [bool(i // 2 % 2) for i in range(n)],
    }
    pd.DataFrame(table).to_csv(folder / "screen_8_meta.csv", index=False)
    return path


def read(path, **changes):
    options = {"metadata": "", "columns": NO_COLUMNS, "crop": 16, **changes}
    return read_images(str(path), **options)


def test_the_table_beside_the_images_is_found_and_read(tmp_path):
    images = read(write(tmp_path))
    assert images.pixels.shape == (8, 2, 24, 20)
    assert images.labels is not None
    assert list(images.labels.plate) == ["P0"] * 4 + ["P1"] * 4
    assert list(images.labels.treatment[:4]) == ["BRD-1", "BRD-1", "control", "control"]
    assert list(images.labels.is_control[:4]) == [False, False, True, True]


def test_images_without_wells_are_trained_on_and_it_is_said_what_is_missing(tmp_path):
    path = write(tmp_path)
    pd.DataFrame({"compound": list("abcdefgh")}).to_csv(tmp_path / "screen_8_meta.csv")
    images = read(path)
    assert images.labels is None
    assert "plate, well" in images.why_no_labels
    assert held_back(images, fold=0, n_folds=1, fraction=0.1, seed=0).sum() == 1


def test_real_images(shared_data):
    folder = shared_data / "images"
    images = read(folder / "lincs_a549_80fov_5ch_256_u8.npz", crop=96)
    assert images.labels is not None
    assert len(np.unique(images.labels.plate)) == 5
    assert images.labels.is_control.sum() == 40
    assert sorted(np.unique(images.labels.treatment))[0].startswith("BRD-")
    other = read(folder / "cpjump1_4fov_5ch_512_u16.npz", crop=96)
    assert other.pixels.dtype == np.uint16
    assert other.labels is None


@pytest.mark.parametrize("folds", [1, 2])
def test_no_well_and_no_plate_is_torn_apart(tmp_path, folds):
    images = read(write(tmp_path))
    assert images.labels is not None
    parts = [
        held_back(images, fold=fold, n_folds=folds, fraction=0.1, seed=3) for fold in range(folds)
    ]
    if folds == 1:
        assert parts[0].sum() == 2
        wells = set(zip(images.labels.plate, images.labels.well, strict=True))
        held = set(zip(images.labels.plate[parts[0]], images.labels.well[parts[0]], strict=True))
        assert len(held) == 1
        assert held < wells
    else:
        assert (parts[0] ^ parts[1]).all()
        assert (parts[0] == (images.labels.plate == "P0")).all()


def test_crops_are_a_function_of_the_seed_and_come_from_the_given_rows(tmp_path):
    pixels = read(write(tmp_path)).pixels.copy()
    pixels[:4] = 250
    rows = np.arange(4, 8)
    options = {"count": 6, "crop": 16, "augment": True}
    a = random_crops(pixels, rows, seed=(1, 2), **options)
    assert a.shape == (6, 2, 16, 16)
    assert a.max() < 250
    np.testing.assert_array_equal(a, random_crops(pixels, rows, seed=(1, 2), **options))
    assert (a != random_crops(pixels, rows, seed=(1, 3), **options)).any()


def test_turning_and_mirroring_move_all_channels_alike():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    pixels = np.concatenate([image, image + 100])[None]
    crops = random_crops(pixels, np.arange(1), count=64, crop=4, augment=True, seed=(0,))
    assert (crops[:, 1] - crops[:, 0] == 100).all()
    assert len({crop.tobytes() for crop in crops}) == 8
    plain = random_crops(pixels, np.arange(1), count=8, crop=4, augment=False, seed=(0,))
    assert (plain == pixels).all()


@pytest.mark.parametrize(("per_side", "count"), [(0, 4), (1, 1), (3, 9)])
def test_a_grid_of_crops_reaches_every_edge(per_side, count):
    image = np.arange(2 * 24 * 20).reshape(2, 24, 20).astype(np.uint16)
    crops = grid_crops(image, crop=16, per_side=per_side)
    assert crops.shape == (count, 2, 16, 16)
    assert crops.dtype == np.float32
    if per_side != 1:
        found = {round(float(v) * 257) for v in crops.ravel()}
        assert found == set(range(2 * 24 * 20))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": ""}, "data.images is empty"),
        ({"path": "nowhere.npz"}, "nowhere.npz"),
        ({"crop": 32}, r"24 × 20 pixels are smaller than data.crop=32"),
        ({"path": "nowhere.npz"}, "nowhere.npz' cannot be read: No such file"),
        ({"columns": {**NO_COLUMNS, "plate": "Plate!"}}, "data.columns.plate='Plate!'"),
        ({"columns": {**NO_COLUMNS, "is_control": "plate"}}, "data row 3: no treatment"),
    ],
)
def test_bad_images_end_in_a_sentence(tmp_path, change, message):
    path = write(tmp_path)
    with pytest.raises(ImagesFileError, match=message):
        read(change.pop("path", path), **change)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 24, 24), np.uint8)}, r"uint8 \(2, 24, 24\)"),
        ({"images": np.zeros((2, 1, 24, 24), np.float32)}, "float32"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "exactly one array"),
        ({"images": np.array([{}], dtype=object)}, r"object \(1,\)"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ImagesFileError, match=message):
        read(tmp_path / "a.npz")


DAMAGED = {
    "cut short": lambda data: data[:-300],
    "garbled": lambda data: data[:200] + bytes(300) + data[500:],
    "empty": lambda _: b"",
    "no archive": lambda _: b"\x93NUMPY",
    "words": lambda _: b"not here",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_a_sentence_without_a_librarys_words(tmp_path, case):
    path = write(tmp_path)
    path.write_bytes(DAMAGED[case](path.read_bytes()))
    with pytest.raises(
        ImagesFileError, match=r"screen_8_u8\.npz': damaged, or no NPZ file"
    ) as said:
        read(path)
    assert "\n" not in str(said.value)


def test_images_that_explode_are_refused_by_their_header(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "ALWAYS", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((40, 1, 1024, 1024), np.uint8))
    with pytest.raises(InputError, match=r"a\.npz: it unpacks to more than 500 times its size"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: b"sep=;\n" + text.replace(",", ";").encode(),
        lambda text: b"# mine\n" + text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("BRD", "Ä").encode("latin-1"),
        lambda text: gzip.compress(text.encode()),
    ],
)
def test_the_table_may_be_any_that_wells_may_be(tmp_path, dress):
    path = write(tmp_path)
    plain = read(path).labels
    table = tmp_path / "screen_8_meta.csv"
    table.write_bytes(dress(table.read_text()))
    found = read(path).labels
    assert list(found.plate) == list(plain.plate)
    assert list(found.is_control) == list(plain.is_control)
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        read(path, metadata="nowhere.csv")


def test_a_table_of_another_length_is_refused(tmp_path):
    path = write(tmp_path)
    pd.DataFrame({"plate": [1]}).to_csv(tmp_path / "screen_8_meta.csv")
    with pytest.raises(ImagesFileError, match="1 rows for 8 images"):
        read(path)


def test_one_plate_cannot_be_held_back(tmp_path):
    images = read(write(tmp_path, n=4))
    with pytest.raises(ImagesFileError, match="1 plates are too few"):
        held_back(images, fold=0, n_folds=2, fraction=0.1, seed=0)
