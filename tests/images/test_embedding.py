"""Images to a wells table: means, rejected images, and what a second start does."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile

from molphenix_jax.extras import MissingExtraError
from molphenix_jax.images import (
    CropEncoder,
    EmbedConfig,
    EmbedJob,
    ImagesError,
    ImageSource,
    embed_images,
)
from molphenix_jax.images.files import ImageError, decode
from molphenix_jax.phenomics import CropConfig
from molphenix_jax.wells.table import read_wells
from tests.images import screens

N_WELLS, N_FIELDS = 5, 3


class Means:
    """An encoder: the mean of each channel; it knows how often it was asked."""

    def __init__(self):
        self.shapes: list[tuple[int, ...]] = []
        self.left = 10**9

    def encoder(self) -> CropEncoder:
        return CropEncoder("means", "means", lambda _: self)

    def __call__(self, crops):
        self.shapes.append(crops.shape)
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return jnp.asarray(crops, jnp.float32).mean((2, 3))


@pytest.fixture
def screen(tmp_path) -> ImageSource:
    """Five wells with three fields of two channels, as a table of .npy-in-.npz files."""
    rows = []
    for well in range(N_WELLS):
        for field in range(N_FIELDS):
            name = f"{well}-{field}.npz"
            stack = np.stack([screens.pixels(well, field, c) for c in range(2)])
            (tmp_path / name).write_bytes(screens.npz(image=stack))
            rows.append({"path": name, "plate": "P", "well": f"A{well + 1}", "field": field,
                         "smiles": "" if well == 0 else "C" * well, "concentration_um": well,
                         "is_control": well == 0})  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "index.csv", index=False)
    return ImageSource("table", tmp_path, tmp_path / "index.csv")


def job(
    source: ImageSource, encoder: CropEncoder, name: str = "wells.parquet", **changes
) -> EmbedJob:
    config = EmbedConfig(CropConfig(16), batch_size=8, part_fields=4, threads=2)
    out = source.images / name
    base = EmbedJob(source, encoder, config, out, "well")
    return dataclasses.replace(base, **changes)


def expected(well: int, fields: Iterable[int] = range(N_FIELDS)) -> np.ndarray:
    """Mean over fields of the mean over the four crops (two overlap in eight pixels)."""
    of_fields = []
    for field in fields:
        x = np.stack([screens.pixels(well, field, c) for c in range(2)]).astype(float)
        grid = [x[:, y : y + 16, z : z + 16] for y in (0, 8) for z in (0, 8)]
        of_fields.append(np.mean([crop.mean((1, 2)) for crop in grid], axis=0))
    return np.mean(of_fields, axis=0)


def embeddings(path: pathlib.Path) -> np.ndarray:
    return np.stack(pq.read_table(path).column("embedding").to_pylist())


def rejected(source: ImageSource) -> dict[str, str]:
    frame = pd.read_csv(source.images / "wells.rejected.csv")
    names = [pathlib.Path(file).name for file in frame["file"]]
    return dict(zip(names, frame["reason"], strict=True))


def test_a_well_is_the_mean_over_its_fields_and_crops(screen):
    means, said = Means(), []
    embed_images(job(screen, means.encoder()), say=said.append)
    path = screen.images / "wells.parquet"
    np.testing.assert_allclose(embeddings(path), [expected(w) for w in range(5)], rtol=1e-5)
    # One shape for the encoder; a part of 4 fields of 4 crops fills two batches of 8.
    assert set(means.shapes) == {(8, 2, 16, 16)}
    assert any("images/s" in sentence for sentence in said)
    assert not path.with_name("wells.parquet.parts").exists()
    assert not (screen.images / "wells.rejected.csv").exists()
    wells = read_wells(path, check_smiles=None)
    assert wells.table["is_control"].tolist() == [True, False, False, False, False]
    assert wells.table["well"].tolist() == ["A01", "A02", "A03", "A04", "A05"]
    assert wells.table["concentration_um"].tolist() == [0, 1, 2, 3, 4]
    assert not len(wells.rejected)


def test_rows_of_fields_are_averaged_by_the_reader(screen):
    embed_images(job(screen, Means().encoder(), level="field"))
    path = screen.images / "wells.parquet"
    assert pq.read_table(path).num_rows == N_WELLS * N_FIELDS
    wells = read_wells(path, check_smiles=None)
    np.testing.assert_allclose(wells.embedding, [expected(w) for w in range(5)], rtol=1e-5)


@pytest.mark.parametrize("level", ["well", "field"])
def test_the_metadata_may_have_columns_of_the_tables_names(screen, level):
    plain = job(screen, Means().encoder(), "plain.parquet", level=level)
    embed_images(plain)
    path, said = screen.images / "metadata.csv", []
    wells = [f"A{well + 1}" for well in range(N_WELLS)]
    more = {"field": 9, "n_fields": 9, "embedding": 9, "passage": "p3"}
    pd.DataFrame({"plate": "P", "well": wells, **more}).to_csv(path, index=False)
    named = job(dataclasses.replace(screen, metadata=path), Means().encoder(), level=level)
    embed_images(named, say=said.append)
    tables = [pq.read_table(each.out) for each in (plain, named)]
    own = {"well": "n_fields", "field": "field"}[level]
    for column in (own, "embedding"):
        assert tables[1].column_names.count(column) == 1
        assert tables[1].column(column).equals(tables[0].column(column))
        assert any(f"column '{column}' is left out" in sentence for sentence in said)
    assert set(tables[1].column("passage").to_pylist()) == {"p3"}


def test_bad_images_are_rejected_rows_and_the_rest_goes_on(screen):
    folder = screen.images
    whole = (folder / "1-0.npz").read_bytes()
    (folder / "1-0.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "2-0.npz").unlink()
    (folder / "3-0.npz").write_bytes(screens.npz(image=np.zeros((2, 20, 24), np.uint8)))
    (folder / "3-1.npz").write_bytes(screens.npz(image=np.zeros((3, 24, 24), np.uint8)))
    (folder / "3-2.npz").write_bytes(b"")
    (folder / "4-0.npz").write_bytes(b"a text file")
    (folder / "4-1.npz").write_bytes(screens.npz(image=np.array(["x"])))
    embed_images(job(screen, Means().encoder()))
    reasons = rejected(screen)
    assert len(reasons) == 7
    assert "unreadable" in reasons["1-0.npz"]
    assert "No such file" in reasons["2-0.npz"]
    assert reasons["3-0.npz"] == "2x20x24 where most fields are 2x24x24"
    assert reasons["3-1.npz"] == "3x24x24 where most fields are 2x24x24"
    assert reasons["3-2.npz"] == "the file is empty"
    assert "neither TIFF" in reasons["4-0.npz"]
    out = pq.read_table(folder / "wells.parquet")
    assert out.column("well").to_pylist() == ["A01", "A02", "A03", "A05"]
    assert out.column("n_fields").to_pylist() == [3, 2, 2, 1]
    want = [expected(0), expected(1, (1, 2)), expected(2, (1, 2)), expected(4, (2,))]
    np.testing.assert_allclose(embeddings(folder / "wells.parquet"), want, rtol=1e-5)


def test_no_usable_image_is_an_error_with_the_first_reason(screen):
    for path in screen.images.glob("*.npz"):
        path.write_bytes(b"x")
    with pytest.raises(ImagesError, match=r"none of 15 fields can be read.*0-0.npz: neither TIFF"):
        embed_images(job(screen, Means().encoder()))


def test_a_crop_larger_than_the_field_is_an_error(screen):
    config = EmbedConfig(CropConfig(32), batch_size=8, part_fields=4, threads=2)
    with pytest.raises(ImagesError, match=r"24 pixels is smaller than a crop of 32"):
        embed_images(job(screen, Means().encoder(), config=config))


def test_a_stopped_job_continues_to_the_same_bits(screen):
    means = Means()
    means.left = 5  # in the middle of the third part
    with pytest.raises(KeyboardInterrupt):
        embed_images(job(screen, means.encoder()))
    again, said = Means(), []
    embed_images(job(screen, again.encoder()), say=said.append)
    assert "2 of 4 parts are there already" in said
    assert len(again.shapes) == 4
    embed_images(job(screen, Means().encoder(), name="whole.parquet", out=screen.images / "b.pq"))
    np.testing.assert_array_equal(
        embeddings(screen.images / "wells.parquet"), embeddings(screen.images / "b.pq")
    )


def test_a_finished_job_does_nothing_and_another_is_refused(screen):
    embed_images(job(screen, Means().encoder()))
    said, means = [], Means()
    embed_images(job(screen, means.encoder()), say=said.append)
    assert "is finished" in said[-1]
    assert not means.shapes
    other = CropEncoder("other", "other", lambda _: means)
    with pytest.raises(ImagesError, match="made with other encoder; delete it"):
        embed_images(job(screen, other))
    (screen.images / "0-0.npz").write_bytes(screens.npz(image=np.ones((2, 24, 24), np.uint8)))
    with pytest.raises(ImagesError, match="made with other images; delete it"):
        embed_images(job(screen, Means().encoder()))


def test_parts_of_another_job_are_not_mixed_in(screen):
    means = Means()
    means.left = 5
    with pytest.raises(KeyboardInterrupt):
        embed_images(job(screen, means.encoder()))
    config = EmbedConfig(CropConfig(12), batch_size=8, part_fields=4, threads=2)
    with pytest.raises(ImagesError, match="wells.parquet.parts .* other crop"):
        embed_images(job(screen, Means().encoder(), config=config))


def test_an_embedding_that_is_not_finite_is_rejected(screen):
    def encode(crops):
        mean = jnp.asarray(crops, jnp.float32).mean((2, 3))
        return jnp.where(mean.max() == mean, jnp.nan, mean)

    embed_images(job(screen, CropEncoder("nan", "nan", lambda _: encode)))
    reasons = set(rejected(screen).values())
    assert reasons == {"its embedding is not finite"}
    assert np.isfinite(embeddings(screen.images / "wells.parquet")).all()


@pytest.mark.parametrize("kind", ["png", "jp2", "tiff"])
def test_truncated_files_are_unreadable(tmp_path, kind):
    x = screens.pixels(0, 0, 0, size=64)
    if kind == "tiff":
        tifffile.imwrite(tmp_path / "x", x, compression="zlib")
        data = (tmp_path / "x").read_bytes()
    else:
        data = screens.png(x) if kind == "png" else screens.jp2(x)
    np.testing.assert_array_equal(decode(data), x)
    for n in (len(data) // 2, len(data) - 24, 20):
        with pytest.raises(ImageError, match="unreadable|neither"):
            decode(data[:n])


@pytest.mark.parametrize(
    "head", [b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff", b"\xff\x4f\xff\x51"]
)
def test_without_codecs_only_numpy_files_are_read(monkeypatch, head):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # an extra
    with pytest.raises(MissingExtraError, match=r"pip install 'molphenix-jax\[images\]'"):
        decode(head + bytes(100))
    np.testing.assert_array_equal(decode(screens.npz(image=np.arange(4))), np.arange(4))


def test_no_pickle_is_loaded():
    with pytest.raises(ImageError, match="allow_pickle"):
        decode(screens.npz(image=np.array([{"a": 1}], object)))


def test_the_manifest_stays_with_the_table(screen):
    embed_images(job(screen, Means().encoder()))
    metadata = pq.read_schema(screen.images / "wells.parquet").metadata
    assert json.loads(metadata[b"molphenix.embed_images"])["encoder"] == "means"


def depths(folder: pathlib.Path, wells: dict[str, np.dtype]) -> ImageSource:
    """A well for each name, all with the same picture, of 8 bits or of 16 (times 257)."""
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, 256, (2, 24, 24)).astype(np.uint8)
    for well, dtype in wells.items():
        scale = 257 if dtype == np.uint16 else 1
        (folder / f"{well}.npz").write_bytes(screens.npz(image=x.astype(dtype) * dtype(scale)))
    rows = {
        "path": [f"{well}.npz" for well in wells],
        "plate": "P",
        "well": list(wells),
        "field": 1,
    }
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    return ImageSource("table", folder, folder / "index.csv")


@pytest.mark.parametrize("standardise", ["auto", "image", "none"])
def test_one_picture_of_8_and_of_16_bits_in_a_screen_embeds_alike(tmp_path, standardise):
    source = depths(tmp_path / "x", {"A01": np.uint8, "A02": np.uint16})
    config = EmbedConfig(CropConfig(16, standardise=standardise), 8, part_fields=4, threads=2)
    said = []
    embed_images(job(source, Means().encoder(), config=config), say=said.append)
    a, b = embeddings(source.images / "wells.parquet")
    np.testing.assert_allclose(a, b, atol=0.05)
    assert any("differ in their pixels (uint8 in 1, uint16 in 1)" in note for note in said)


@pytest.mark.parametrize("standardise", ["image", "none"])
def test_screens_of_8_and_of_16_bits_compare_where_the_same_is_done_to_both(tmp_path, standardise):
    config = EmbedConfig(CropConfig(16, standardise=standardise), 8, part_fields=4, threads=2)
    out = []
    for dtype in (np.uint8, np.uint16):
        source = depths(tmp_path / np.dtype(dtype).name, {"A01": dtype})
        embed_images(job(source, Means().encoder(), config=config))
        out.append(embeddings(source.images / "wells.parquet"))
    np.testing.assert_allclose(*out, atol=0.05)


def test_what_auto_does_is_said_and_a_late_field_of_16_bits_is_rejected(tmp_path):
    wells = {f"A{i + 1:02d}": np.uint8 for i in range(20)}
    source, said = depths(tmp_path / "x", {**wells, "A02": np.uint16}), []
    embed_images(job(source, Means().encoder()), say=said.append)
    assert any("pixels have 8 bits and are taken as they are" in note for note in said)
    assert list(rejected(source)) == ["A02.npz"]
    assert "uint16 where the fields looked at first have 8 bits" in rejected(source)["A02.npz"]
    source, said = depths(tmp_path / "y", {"A01": np.uint16}), []
    embed_images(job(source, Means().encoder()), say=said.append)
    assert any("pixels are uint16: each channel" in note for note in said)
