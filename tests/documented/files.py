"""Tiny files under the names that the documentation uses, in the layouts that it names."""

import pathlib
import zipfile

import numpy as np
import pandas as pd
import tifffile
from safetensors.numpy import save_file

import molphenix_jax
from molphenix_jax.models.mpnn.minimol.checkpoint import CHECKPOINT
from molphenix_jax.runtime.workdir.folder import write_claim
from molphenix_jax.simulated.images import simulate_images
from molphenix_jax.tasks.align import config as align_config
from molphenix_jax.trained.alignment import write_alignment
from molphenix_jax.wells.conditions.values import Conditions
from tests import tiny, torch_file
from tests.documented import parts
from tests.images import screens
from tests.models.mpnn import minimol
from tests.models.vit.test_openphenom import weights
from tests.published import rxrx3
from tests.retrieval.ranking import made
from tests.retrieval.test_inputs import alignment
from tests.tasks.property_pretraining import tiny_labels
from tests.wells.inputs import test_layouts as layouts
from tests.wells.inputs import test_sites as sites


def write(folder: pathlib.Path, cache: pathlib.Path) -> None:
    """Everything that a documented command reads and none before it writes."""
    folder.mkdir()
    wells = tiny.wells(cache)
    _table(wells).to_parquet(folder / "my_wells.parquet")
    public = ("profiles_dahlin_u2os", "profiles_comas_u2os", "mito5_lincs_a549")
    public += ("comas_cluster_similarity13", "comas_mechanisms")
    for name in ("wells", "screen", *public):
        (folder / f"{name}.parquet").symlink_to("my_wells.parquet")
    _table(tiny.wells(cache, seed=1)).to_parquet(folder / "other.parquet")
    hits = wells.loc[~wells["is_control"], ["smiles", "concentration_um"]]
    hits = hits.assign(class_b=100 * hits["smiles"].str.contains("N"))
    for name in ("hits.csv", "comas_hits.csv"):
        hits.to_csv(folder / name, index=False)
    theirs = {"smiles": "ITEM_TXT", "concentration_um": "AMT_2", "plate": "CARRIER"}
    told = _table(wells).drop(columns=["SMI", "compound"])
    told.rename(columns=theirs).to_csv(folder / "lims.csv", index=False)
    write_claim(folder / "run_before", align_config.default_config(size="tiny"))
    smiles = wells["smiles"].dropna().unique()
    pd.DataFrame({"smiles": smiles}).to_csv(folder / "molecules.csv", index=False)
    pd.DataFrame({"smiles": smiles[:12]}).to_csv(folder / "unseen.csv", index=False)
    (folder / "unseen_butina.csv").symlink_to("unseen.csv")
    _model(folder)
    half = len(smiles) // 2
    for name, some in (("library.csv", smiles[:half]), ("more.csv", smiles[half:])):
        named = pd.DataFrame({"smiles": some, "name": [f"m{i}" for i in range(len(some))]})
        named.to_csv(folder / name, index=False)
    (folder / "more.smi").write_text("".join(f"{one} m\n" for one in smiles[half:]))
    mine = pd.DataFrame(np.ones((len(smiles), 5)), columns=list("abcde")).assign(smiles=smiles)
    mine.to_parquet(folder / "mine.parquet")
    embedded = np.random.default_rng(0).normal(size=(len(smiles), 4)).astype(np.float32)
    pd.DataFrame({"smiles": smiles, "embedding": list(embedded)}).to_parquet(folder / "emb.parquet")
    parts.write(folder)
    _library(folder, list(_features(wells)))
    _plate(folder)
    _rxrx3_core(folder)
    _bray2017(folder, smiles)
    sites.jump_lite(folder)
    _pycytominer(wells, folder / "profiles")
    _labels(folder)
    _images(folder, cache)
    save_file(weights.random_weights(weights.SMALL, seed=0), folder / "model.safetensors")
    # Two of its 16 layers, which compile sooner.
    torch_file.save(folder / "state_dict.pth", minimol.random_weights(2))
    with zipfile.ZipFile(folder / "minimol-1.3.5-py3-none-any.whl", "w") as wheel:
        wheel.write(folder / "state_dict.pth", CHECKPOINT)


def _model(folder: pathlib.Path) -> None:
    """Two models that were never trained: one that takes SMILES, one that is told more."""
    plain = alignment(conditions=Conditions(), blocks=("maccs",))
    write_alignment(folder / "model_before", plain, config={"task": "align"})
    write_alignment(folder / "model_told", alignment(), config={"task": "align"})


def _table(wells: pd.DataFrame) -> pd.DataFrame:
    """A wells table with a column for each feature and two kinds of control.

    SMI is another name for the molecules, `role` says of controls that they are some.
    """
    control = wells["is_control"].to_numpy(bool)
    kind = np.where(np.arange(len(wells)) % 2, "DMSO", "untreated")
    told = wells.drop(columns=["embedding", "is_control"]).assign(
        SMI=wells["smiles"],
        compound=np.where(control, kind, "compound"),
        role=np.where(control, "ctl", "trt"),
        time_h=24,
        cell_line="U2OS",
    )
    return pd.concat([told, _features(wells)], axis=1)


def _features(wells: pd.DataFrame) -> pd.DataFrame:
    values = np.stack(wells["embedding"].to_list())
    names = [f"Cells_Texture_{i}" for i in range(values.shape[1])]
    return pd.DataFrame(values, columns=names, index=wells.index)


def _library(folder: pathlib.Path, features: list[str]) -> None:
    """A model that takes the features of the wells, and a library that it has embedded."""
    run, table = made.write_run(folder / "made", features=features), made.molecules(20)
    (run / "model").rename(folder / "trained_model")
    model = made.load(folder / "trained_model")
    made.write_index(folder / "library_index", model, made.embedded(model, table), table)


def _plate(folder: pathlib.Path) -> None:
    """A plate with the features of the model that comes with the package."""
    names, rng = molphenix_jax.load("public-u2os").feature_names, np.random.default_rng(0)
    wells = pd.DataFrame(rng.normal(size=(48, len(names))), columns=list(names))
    wells.insert(0, "plate", "P1")
    wells.insert(1, "compound", ["DMSO"] * 40 + [f"m{i // 4}" for i in range(8)])
    wells.to_parquet(folder / "my_plate.parquet")


def _rxrx3_core(folder: pathlib.Path) -> None:
    """Its two files, EFAAR's interactions and known pairs; wells that have images besides."""
    rxrx3.write(folder)
    path = folder / rxrx3.METADATA
    embedded = pd.read_csv(path)
    imaged = pd.read_csv(screens.rxrx3_metadata(path))
    pd.concat([embedded, imaged]).to_csv(path, index=False)
    made.write_run(folder / "core_run", features=[f"feature_{j}" for j in range(rxrx3.WIDTH)])


def _bray2017(folder: pathlib.Path, smiles: np.ndarray) -> None:
    """CLOOME's index files of two plates; two molecules are those of its file of test images."""
    layouts.bray2017(folder, [*smiles[:38], screens.ETHANOL, screens.PROPANOL])
    for name, part in (("train", "train"), ("test", "val")):
        index = pd.read_csv(folder / f"{name}.csv").rename(columns={"SMILES": "CPD_SMILES"})
        index.to_csv(folder / f"datasplit1-{part}.csv", index=False)


def _pycytominer(wells: pd.DataFrame, folder: pathlib.Path) -> None:
    """LINCS (csv.gz, a sample on each row) and JUMP (Parquet, tables of wells and compounds)."""
    folder.mkdir()
    number, smiles = pd.factorize(wells["smiles"])
    ids = [f"BRD-K{i:08d}" for i in range(len(smiles))]
    place = pd.DataFrame({"Metadata_Plate": wells["plate"], "Metadata_Well": wells["well"]})
    sample = [f"{ids[n]}-001-01-1" if n >= 0 else "DMSO" for n in number]
    dose = wells["concentration_um"]
    lincs = place.assign(Metadata_broad_sample=sample, Metadata_mmoles_per_liter=dose)
    source = pd.DataFrame({"Metadata_Source": "source_4"}, index=wells.index)
    for plate, rows in wells.groupby("plate").groups.items():
        features = _features(wells.loc[rows])
        pd.concat([lincs.loc[rows], features], axis=1).to_csv(
            folder / f"{plate}_normalized.csv.gz", index=False
        )
        pd.concat([source.loc[rows], place.loc[rows], features], axis=1).to_parquet(
            folder / f"{plate}.parquet"
        )
    compounds = pd.DataFrame({"broad_id": ids, "smiles": smiles})
    compounds.to_csv(folder.parent / "compounds.tsv", sep="\t", index=False)
    compounds.to_csv(folder.parent / "compounds.csv", index=False)
    jcp = [f"JCP2022_{n:06d}" if n >= 0 else "JCP2022_033924" for n in number]
    pd.concat([source, place], axis=1).assign(Metadata_JCP2022=jcp).to_csv(
        folder.parent / "well.csv.gz", index=False
    )
    names = dict(zip(jcp, wells["smiles"].fillna("CS(C)=O"), strict=True))
    pd.DataFrame({"Metadata_JCP2022": names.keys(), "Metadata_SMILES": names.values()}).to_csv(
        folder.parent / "compound.csv.gz", index=False
    )


def _labels(folder: pathlib.Path) -> None:
    """Tables of labels of molecules and of atoms."""
    table = pd.read_parquet(tiny_labels.table(folder / "LABELS.parquet"))
    table[["smiles", "logp"]].to_csv(folder / "A.csv.gz", index=False)
    table[["smiles", "soluble"]].to_parquet(folder / "B.parquet")
    activity = table[["smiles"]].assign(active=np.arange(len(table)) % 2)
    activity.to_parquet(folder / "mol_jump116k_activity.parquet")
    (folder / "mol_properties_multitask.parquet").symlink_to("LABELS.parquet")
    (folder / "properties_part.parquet").symlink_to("LABELS.parquet")


def _images(folder: pathlib.Path, cache: pathlib.Path) -> None:
    """One screen as an array with its table, and as a microscope's plates; rxrx3-core's shards."""
    made = simulate_images(cache)
    index = pd.read_csv(made.index)
    for name in ("FILE", "lincs_a549_80fov_5ch_256_u8"):
        (folder / f"{name}.npz").symlink_to(made.images)
        index.to_csv(folder / f"{name}_meta.csv", index=False)
    index.to_csv(folder / "platemap.csv", index=False)
    with np.load(made.images) as file:
        images = file["images"].astype(np.uint16)
    listing, paths = [], []
    (folder / "flat_plates").mkdir()
    for image, row in zip(images, index.itertuples(), strict=True):
        place = folder / "plates" / f"{row.plate}__2021-05-02T16_02_51-Measurement1" / "Images"
        place.mkdir(parents=True, exist_ok=True)
        letter, column = str(row.well)[0], int(str(row.well)[1:])
        listing.append({"Metadata_Plate": row.plate, "Metadata_Well": row.well, "Metadata_Site": 1})
        for channel, pixels in enumerate(image, 1):
            name = f"r{ord(letter) - 64:02d}c{column:02d}f01p01-ch{channel}sk1fk1fl1.tiff"
            tifffile.imwrite(place / name, pixels)
            flat = f"{row.plate}_{row.well}_{channel}.tif"
            tifffile.imwrite(folder / "flat_plates" / flat, pixels)
            path = (place / name).relative_to(folder / "plates")
            paths.append({"path": path, "channel": channel, **row._asdict()})
            listing[-1] |= {f"FileName_Orig{channel}": name, f"PathName_Orig{channel}": str(place)}
    pd.DataFrame(listing).to_csv(folder / "load_data.csv", index=False)
    pd.DataFrame(paths).to_csv(folder / "images.csv", index=False)
    screens.rxrx3(folder / "shards", nested=True)
    screens.bray2017(folder / "npz")
