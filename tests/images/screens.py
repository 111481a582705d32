"""Small image screens in the layouts that people have, with pixels that tell where they belong."""

import io
import pathlib
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

SIZE = 24
ETHANOL, PROPANOL = "CCO", "CCCO"


def pixels(
    well: int, field: int, channel: int, dtype: Any = np.uint8, size: int = SIZE
) -> np.ndarray:
    """An image of one channel, another for every place."""
    rng = np.random.default_rng([well, field, channel])
    return rng.integers(0, 200, (size, size)).astype(dtype) + dtype(well)


def gallery(root: pathlib.Path, *, n_channels: int = 3) -> pathlib.Path:
    """Two plates, wells A01, A02 and B01 and fields 1 and 2, named as by the Phenix."""
    for plate in ("BR00117035", "BR00117036"):
        folder = root / "cpg0016-jump/source_4/images/2021_04_26_Batch1/images"
        folder = folder / f"{plate}__2021-05-02T16_02_51-Measurement1" / "Images"
        folder.mkdir(parents=True)
        for well, (row, column) in enumerate([(1, 1), (1, 2), (2, 1)]):
            for field in (1, 2):
                for channel in range(1, n_channels + 1):
                    name = f"r{row:02d}c{column:02d}f{field:02d}p01-ch{channel}sk1fk1fl1.tiff"
                    tifffile.imwrite(
                        folder / name,
                        pixels(well, field, channel, np.uint16),
                        compression="zlib",
                    )
        (folder / "Index.idx.xml").write_text("<xml/>")
    return root


def treatments(path: pathlib.Path, **other) -> pathlib.Path:
    """A metadata table for the gallery's plates."""
    rows = [
        {"Metadata_Plate": plate, "Metadata_Well": well, "smiles": smiles, "conc_uM": dose}
        for plate in ("BR00117035", "BR00117036")
        for well, smiles, dose in [("A01", "", 0), ("A02", ETHANOL, 10), ("B01", PROPANOL, 2.5)]
    ]
    frame = pd.DataFrame(rows)
    frame["control_type"] = np.where(frame["smiles"] == "", "negcon", "")
    frame.assign(**other).to_csv(path, index=False)
    return path


def rxrx3(root: pathlib.Path, *, nested: bool) -> pathlib.Path:
    """Two shards with three wells of two plates, six channels each; fields cross the shards."""
    rows = []
    for well, (plate, name) in enumerate([(1, "AA04"), (1, "B02"), (2, "AA04")]):
        for channel in range(1, 7):
            data = jp2(pixels(well, 1, channel))
            key = f"compound-001/Plate{plate}/{name}_s1_{channel}"
            rows.append({"__key__": key, "jp2": {"bytes": data, "path": None} if nested else data})
    root.mkdir(exist_ok=True)
    for i, part in enumerate([rows[:8], rows[8:]]):
        table = pa.Table.from_pylist(part)
        pq.write_table(table, root / f"train-{i:05d}-of-00002.parquet", row_group_size=5)
    return root


def rxrx3_metadata(path: pathlib.Path) -> pathlib.Path:
    """metadata_rxrx3_core.csv for these wells, in its columns."""
    rows = [
        ("compound-001_1_AA04", 1, "AA04", "", "EMPTY_control", "", ""),
        ("compound-001_1_B02", 1, "B02", "", "RXRX-1", f"{ETHANOL} |r|", 0.25),
        ("compound-001_2_AA04", 2, "AA04", "", "RXRX-1", ETHANOL, 2.5),
    ]
    columns = ["well_id", "plate", "address", "gene", "treatment", "SMILES", "concentration"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(1, "experiment_name", "compound-001")
    frame["perturbation_type"] = "COMPOUND"
    frame["cell_type"] = "HUVEC"
    frame.to_csv(path, index=False)
    return path


def bray2017(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Fields of 520x696x5 in .npz files, and an index file."""
    root.mkdir()
    rows = []
    for well, (plate, name, smiles) in enumerate(
        [("24277", "a01", ETHANOL), ("24277", "p24", PROPANOL), ("26795", "a01", ETHANOL)]
    ):
        for site in (1, 2):
            key = f"{plate}-{name}-{site}"
            sample = np.stack([pixels(well, site, c, size=696)[:520] for c in range(5)], axis=2)
            assert sample.shape == (520, 696, 5)
            np.savez_compressed(root / f"{key}.npz", sample=sample)
            rows.append({"SAMPLE_KEY": key, "PLATE_ID": int(plate), "WELL_POSITION": name,
                         "SITE": site, "CPD_SMILES": smiles})  # fmt: skip
    index = root.parent / "cellpainting-split-test-imgpermol.csv"
    pd.DataFrame(rows).to_csv(index)
    return root, index


def png(array: np.ndarray) -> bytes:
    """The array as PNG."""
    return bytes(imagecodecs.png_encode(array))


def jp2(array: np.ndarray) -> bytes:
    """The array as JPEG-2000, without loss."""
    return bytes(imagecodecs.jpeg2k_encode(array, codecformat="jp2", level=0, reversible=True))


def npz(**arrays: np.ndarray) -> bytes:
    """Arrays as .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()
