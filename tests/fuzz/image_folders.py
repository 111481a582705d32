"""Folders of images in every layout, written in one of many ways, and what has to be read of them.

A field is known by (plate, well, field); its pixels tell of its place alone.
"""

import dataclasses
import io
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from molphenix_jax.images.found import ImageSource
from molphenix_jax.tables.names import row_column_name
from tests.images.screens import jp2, npz, png

Place = tuple[str, str, str]
HEIGHT, WIDTH = 12, 16
# What becomes of one image.
FAULTS = ("lost", "empty", "short", "text", "size")


@dataclasses.dataclass
class Screen:
    """Images on disk.

    Attributes:
        source: How they are read.
        fields: What has to come of each usable field [c, h, w].
        broken: Fields that have to be rejected.
        n_again: Rejections of images that are there twice.
        dose: Of each well in µM.
    """

    source: ImageSource
    fields: dict[Place, np.ndarray]
    broken: set[Place]
    n_again: int
    dose: dict[tuple[str, str], float]


def layouts() -> dict[str, Callable[[pathlib.Path, np.random.Generator], Screen]]:
    """A writer for each layout."""
    return {
        "phenix": _phenix,
        "load_data": _load_data,
        "rxrx3": _rxrx3,
        "bray2017": _bray2017,
        "table": _table,
        "array": _array,
    }


def _truth(rng: np.random.Generator, n_channels: int, dtype=None) -> dict[Place, np.ndarray]:
    """Two plates, three or four wells of each, two fields of each."""
    dtype = dtype or rng.choice([np.uint8, np.uint16])
    wells = [(int(r), int(c)) for r, c in rng.permutation(24)[:4, None] // [6, 1] % [4, 6] + 1]
    names = list(dict.fromkeys(row_column_name(*well) for well in wells))
    high = 250 if dtype == np.uint8 else 60_000
    return {
        (plate, well, str(field)): rng.integers(1, high, (n_channels, HEIGHT, WIDTH)).astype(dtype)
        for plate in ("BR117035", "BR117036")
        for well in names
        for field in (1, 2)
    }


def _encoders(rng: np.random.Generator) -> tuple[str, Callable[[np.ndarray], bytes]]:
    kind = int(rng.integers(4))
    if kind == 0:
        return ".png", png
    if kind == 1:
        return ".jp2", jp2
    suffix = str(rng.choice([".tif", ".tiff"]))
    return suffix, _tiff if kind == 2 else lambda array: _tiff(array, "zlib")


def _tiff(array: np.ndarray, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, compression=compression, photometric="minisblack")
    return buffer.getvalue()


def _with_fault(
    rng: np.random.Generator, truth: dict[Place, np.ndarray], faults=FAULTS
) -> tuple[Place | None, int, str]:
    """A field and channel with which something is wrong, and what."""
    if rng.random() < 0.5:
        return None, -1, ""
    place = list(truth)[rng.integers(len(truth))]
    return place, int(rng.integers(len(truth[place]))), str(rng.choice(faults))


def _faulty(fault: str, array: np.ndarray, encode: Callable, rng) -> bytes | None:
    """The bytes of an image with a fault; None where it is lost."""
    data = encode(array)
    if fault == "size":
        return encode(array[..., :-1, :-1])
    cut = data[: int(len(data) * rng.uniform(0.05, 0.9))]
    return {"lost": None, "empty": b"", "short": cut, "text": b"<html>gone</html>"}[fault]


def _treatments(
    path: pathlib.Path, truth: dict[Place, np.ndarray], rng: np.random.Generator
) -> dict[tuple[str, str], float]:
    """A metadata table in one of many spellings; gives the doses in µM."""
    wells = list(dict.fromkeys(place[:2] for place in truth))
    dose = {well: float(np.resize([0.5, 10.0, 2.5], len(wells))[i]) for i, well in enumerate(wells)}
    unit, factor = (("nM", 1000), ("uM", 1), ("mM", 0.001))[rng.integers(3)]
    short = rng.random() < 0.5
    frame = pd.DataFrame(
        {
            "Metadata_Plate": [plate for plate, _ in wells],
            "Metadata_Well": [f"{w[0]}{int(w[1:])}" if short else w for _, w in wells],
            "smiles": np.resize(["CCO", "c1ccccc1", "CC(=O)O"], len(wells)),
            f"conc_{unit}": [dose[well] * factor for well in wells],
        }
    )
    frame = frame.sample(frac=1, random_state=int(rng.integers(1 << 30)))
    frame[rng.permutation(frame.columns)].to_csv(
        path, index=False, sep=str(rng.choice([",", "\t", ";"]))
    )
    return dose


def _phenix(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    truth = _truth(rng, int(rng.integers(2, 5)))
    suffix, encode = _encoders(rng)
    bad, bad_channel, fault = _with_fault(rng, truth)
    again, planes = rng.random() < 0.4, rng.random() < 0.3
    n_again = 0
    for place, image in truth.items():
        plate, well, field = place
        name = f"r{ord(well[0]) - 64:02d}c{int(well[1:]):02d}f{int(field):02d}"
        folder = (
            root / f"images/2021_Batch1/images/{plate}__2021-05-02T16_02_51-Measurement1/Images"
        )
        later = root / f"images/2021_Batch1/images/{plate}__2021-05-03T09_00_00-Measurement2/Images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Index.idx.xml").write_text("<xml/>")
        for c, plane in enumerate(image):
            data: bytes | None = encode(plane)
            if place == bad and c == bad_channel:
                data = _faulty(fault, plane, encode, rng)
            tail = f"-ch{c + 1}sk1fk1fl1{suffix}"
            if data is not None:
                (folder / f"{name}p01{tail}").write_bytes(data)
            if planes and not (place == bad and fault == "lost"):
                (folder / f"{name}p02{tail}").write_bytes(encode(plane[::-1].copy()))
            if again and plate == "BR117036" and place != bad and c:  # one channel fewer
                later.mkdir(parents=True, exist_ok=True)
                (later / f"{name}p01{tail}").write_bytes(encode(plane[:, ::-1].copy()))
        n_again += again and plate == "BR117036" and place != bad
    path = root / "platemap.csv"
    dose = _treatments(path, truth, rng)
    source = ImageSource(layout="gallery", images=root, metadata=path)
    return _screen(source, truth, bad, n_again, dose)


def _screen(source, truth, bad, n_again, dose) -> Screen:
    fields = {place: image for place, image in truth.items() if place != bad}
    return Screen(source, fields, {bad} if bad else set(), n_again, dose)


def _load_data(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    channels = ("DNA", "ER", "Mito")
    truth = _truth(rng, len(channels))
    suffix, encode = _encoders(rng)
    bad, bad_channel, fault = _with_fault(rng, truth)
    there = rng.random() < 0.5  # paths of this machine, or of the one that ran CellProfiler
    rows = []
    for place, image in truth.items():
        plate, well, field = place
        folder = root / plate
        folder.mkdir(exist_ok=True)
        row = {"Metadata_Plate": plate, "Metadata_Well": well, "Metadata_Site": field}
        for c, (channel, plane) in enumerate(zip(channels, image, strict=True)):
            name = f"{well}_s{field}_w{c + 1}{suffix}"
            data: bytes | None = encode(plane)
            if place == bad and c == bad_channel:
                data = _faulty(fault, plane, encode, rng)
            if data is not None:
                (folder / name).write_bytes(data)
            row[f"FileName_Orig{channel}"] = name
            row[f"PathName_Orig{channel}"] = str(folder) if there else f"/data/screen/{plate}"
        rows.append(row)
    frame = pd.DataFrame(rows).sample(frac=1, random_state=int(rng.integers(1 << 30)))
    twice = int(rng.random() < 0.3)
    frame = pd.concat([frame, frame.iloc[:twice]])
    index = root / ("load_data.csv.gz" if rng.random() < 0.3 else "load_data.csv")
    frame.to_csv(index, index=False)
    metadata = root / "treatments.csv"
    dose = _treatments(metadata, truth, rng)
    source = ImageSource(layout="gallery", images=root, index=index, metadata=metadata)
    screen = _screen(source, truth, bad, twice, dose)
    order = [c for _, c in sorted((name, i) for i, name in enumerate(channels))]
    screen.fields = {place: image[order] for place, image in screen.fields.items()}
    return screen


def _rxrx3(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    truth = _truth(rng, 3, np.uint8)
    bad, bad_channel, fault = _with_fault(rng, truth)
    nested = rng.random() < 0.5
    rows = []
    for place, image in truth.items():
        plate, well, field = place
        for c, plane in enumerate(image):
            data: bytes | None = jp2(plane)
            if place == bad and c == bad_channel:
                data = _faulty(fault, plane, jp2, rng)
            if data is not None:
                key = f"compound-001/{plate}/{well}_s{field}_{c + 1}"
                rows.append(
                    {"__key__": key, "jp2": {"bytes": data, "path": None} if nested else data}
                )
    at = int(rng.integers(1, len(rows)))
    for i, part in enumerate((rows[:at], rows[at:])):
        path = root / f"train-{i:05d}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(part), path, row_group_size=int(rng.integers(1, 9)))
    metadata = root / "metadata.csv"
    dose = _treatments(metadata, truth, rng)
    source = ImageSource(layout="rxrx3-core", images=root, metadata=metadata)
    return _screen(source, truth, bad, 0, dose)


def _bray2017(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    truth = _truth(rng, 5, np.uint8)
    bad, _, fault = _with_fault(rng, truth)
    images = root / "images"
    images.mkdir()
    rows = []
    for place, image in truth.items():
        plate, well, field = place
        key = f"{plate}-{well.lower()}-{field}"
        data: bytes | None = _sample(image)
        if place == bad:
            data = _faulty(fault, image, _sample, rng)
        if data is not None:
            (images / f"{key}.npz").write_bytes(data)
        rows.append({"SAMPLE_KEY": key, "PLATE_ID": plate, "WELL_POSITION": well.lower()})
    index = root / "index.csv"
    pd.DataFrame(rows).to_csv(index, index=rng.random() < 0.5)
    metadata = root / "treatments.csv"
    dose = _treatments(metadata, truth, rng)
    source = ImageSource(layout="bray2017", images=images, index=index, metadata=metadata)
    return _screen(source, truth, bad, 0, dose)


def _sample(image: np.ndarray) -> bytes:
    return npz(sample=np.moveaxis(image, 0, 2))


def _table(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    """A row for each file, of one channel or of all."""
    single = rng.random() < 0.5
    truth = _truth(rng, 3)
    suffix, encode = _encoders(rng)
    stacked = (lambda image: npz(x=image)) if rng.random() < 0.5 else _tiff
    bad, bad_channel, fault = _with_fault(rng, truth)
    rows = []
    for place, image in truth.items():
        plate, well, field = place
        told = {"plate": plate, "well": well, "site": field}
        for c, plane in enumerate(image if single else [image]):
            write = encode if single else stacked
            data: bytes | None = write(plane)
            if place == bad and (c == bad_channel or not single):
                data = _faulty(fault, plane, write, rng)
            name = f"{plate}_{well}_{field}_{c}.img"
            if data is not None:
                (root / name).write_bytes(data)
            rows.append({**told, "path": name, **({"channel": f"w{c}"} if single else {})})
    frame = pd.DataFrame(rows).sample(frac=1, random_state=int(rng.integers(1 << 30)))
    twice = int(rng.random() < 0.3)
    frame = pd.concat([frame, frame.iloc[:twice]])
    index = root / "index.csv"
    frame[rng.permutation(frame.columns)].to_csv(
        index, index=False, sep=str(rng.choice([",", ";", "\t"]))
    )
    metadata = root / "treatments.csv"
    dose = _treatments(metadata, truth, rng)
    source = ImageSource(layout="table", images=root, index=index, metadata=metadata)
    return _screen(source, truth, bad, twice, dose)


def _array(root: pathlib.Path, rng: np.random.Generator) -> Screen:
    truth = _truth(rng, 3)
    last = rng.random() < 0.5
    stack = np.stack([np.moveaxis(image, 0, 2) if last else image for image in truth.values()])
    named = "images" if rng.random() < 0.5 else "x"
    images = root / "images.npz"
    images.write_bytes(npz(**{named: stack}))
    rows = [{"plate": plate, "well": well, "field": field} for plate, well, field in truth]
    index = root / "index.csv"
    pd.DataFrame(rows).to_csv(index, index=False)
    metadata = root / "treatments.csv"
    dose = _treatments(metadata, truth, rng)
    source = ImageSource(layout="table", images=images, index=index, metadata=metadata)
    return _screen(source, truth, None, 0, dose)
