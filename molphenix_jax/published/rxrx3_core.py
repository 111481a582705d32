"""RxRx3-core's own files: wells to a map of gene and compound profiles, and its benchmarks.

Wells are joined by `well_id`, whose plates are called Plate1 in one file and 1 in the other; two
embeddings of one well are averaged. The correction is PCA-CS on EMPTY_control within each
experiment (without a clip; features are brought to control SDs before the PCA, as everywhere here).
Wells are then averaged by perturbation and dose. Control wells are no perturbation.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from molphenix_jax.molecules import standardise
from molphenix_jax.phenomics import fit_correction
from molphenix_jax.published.bray2017 import PublishedError
from molphenix_jax.published.compound_gene import MAX_OVER_DOSES, cosines
from molphenix_jax.retrieval import Model
from molphenix_jax.tables.columns import WellsError, near
from molphenix_jax.tables.text import read_text
from molphenix_jax.wells.inputs.layouts import LAYOUTS

CONTROL = "EMPTY_control"
DOSES_UM = LAYOUTS["rxrx3_core"].doses_um
_METADATA = ("well_id", "experiment_name", "treatment", "concentration", "perturbation_type")
_TRUTH = ("treatment", "gene_symbol", "nM_value")
_RELATIONS = ("entity1", "entity2")
_SAME_DOSE = 1e-3


class Wells(NamedTuple):
    """Wells with an embedding; n rows.

    Attributes:
        told: columns of the metadata, and `perturbation`.
        x: embeddings as the file has them.
        features: their names.
    """

    told: pd.DataFrame
    x: Float[np.ndarray, "n d"]
    features: tuple[str, ...]


class Map(NamedTuple):
    """Profiles of all perturbations.

    Attributes:
        genes: names, in order.
        gene_profiles: theirs.
        compounds: columns compound, concentration_um, smiles ("" where there is none).
        compound_profiles: theirs.
    """

    genes: tuple[str, ...]
    gene_profiles: Float[np.ndarray, "g d"]
    compounds: pd.DataFrame
    compound_profiles: Float[np.ndarray, "c d"]


def read_wells(metadata: pathlib.Path, embeddings: pathlib.Path) -> tuple[Wells, list[str]]:
    """Metadata and embeddings side by side, and what was averaged or left out, in sentences.

    Raises:
        PublishedError: A file cannot be read, lacks a column, or they have no well in common.
    """
    told = _table(metadata, _METADATA)
    told["concentration"] = pd.to_numeric(told["concentration"], errors="coerce")
    names = [t if "_control" in t else t.split("_")[0] for t in told["treatment"]]
    told["perturbation"] = names
    try:
        table = pq.read_table(embeddings)
    except (pa.ArrowException, OSError) as error:
        raise PublishedError(f"{embeddings}: cannot be read as Parquet: copy it again") from error
    features = tuple(n for n in table.column_names if re.fullmatch(r"feature_\d+", n))
    if "well_id" not in table.column_names or not features:
        raise PublishedError(
            f"{embeddings}: needs well_id and feature_0, feature_1, …: give the file of embeddings "
            "that RxRx3-core comes with, or one of that form"
        )
    keys = pd.Index([_key(key) for key in table.column("well_id").to_pylist()])
    x = np.stack([table.column(name).to_numpy() for name in features], axis=1).astype(np.float32)
    del table
    code, unique = pd.factorize(keys)
    notes = []
    if len(unique) < len(keys):
        notes.append(f"{len(keys) - len(unique):,} repeated well_id were averaged")
        count = np.bincount(code)
        sums = np.zeros((len(unique), x.shape[1]))
        np.add.at(sums, code, x)
        x = (sums / count[:, None]).astype(np.float32)
    at = pd.Index(unique).get_indexer(pd.Index([_key(key) for key in told["well_id"]]))
    usable = (at >= 0) & np.isfinite(x[np.maximum(at, 0)]).all(axis=1)
    if not usable.any():
        raise PublishedError(
            f"{embeddings} has none of the wells of {metadata}: they are called "
            f"{told['well_id'].iloc[0]}, its first is {keys[0]}"
        )
    if lost := int((~usable).sum()):
        notes.append(f"{lost:,} wells of {metadata.name} have no embedding and are left out")
    told = cast(pd.DataFrame, told.loc[usable]).reset_index(drop=True)
    return Wells(told, x[at[usable]], features), notes


def read_truth(path: pathlib.Path) -> pd.DataFrame:
    """EFAAR's compound_gene_interactions.csv.

    Raises:
        PublishedError: It cannot be read, or lacks a column.
    """
    truth = _table(path, _TRUTH)
    truth["nM_value"] = pd.to_numeric(truth["nM_value"], errors="coerce")
    return truth


def read_relations(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    """Known pairs of genes by source: every `SOURCE.txt` of a folder, with entity1 and entity2.

    Raises:
        PublishedError: There is none, or one lacks a column.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise PublishedError(
            f"{folder}: no .txt in it; give the folder benchmark_annotations of EFAAR_benchmarking"
        )
    return {file.stem: _table(file, _RELATIONS) for file in files}


def make_map(wells: Wells) -> Map:
    """Corrected wells, averaged by perturbation and dose.

    Raises:
        PublishedError: There is no control well, gene or compound.
    """
    told = wells.told
    control = (told["perturbation"] == CONTROL).to_numpy()
    if control.sum() < 2:
        raise PublishedError(
            f"{int(control.sum())} wells have the treatment {CONTROL}, which the correction is "
            "fitted on: give the whole metadata"
        )
    experiment = told["experiment_name"].to_numpy(str)
    correction = fit_correction(wells.x, experiment, control, method="pca_cs", clip=0.0)
    x = correction.apply(wells.x, experiment)
    names = told["perturbation"].to_numpy(str)
    genes, gene_profiles = _averaged(x, _gene_rows(told), names)
    dosed = _compound_rows(told)
    doses = told["concentration"].to_numpy(np.float64).tolist()
    labels = [f"{name}\t{dose!r}" for name, dose in zip(names, doses, strict=True)]
    pairs, compound_profiles = _averaged(x, dosed, np.array(labels))
    parts = [pair.split("\t") for pair in pairs]
    if not genes or not parts:
        raise PublishedError("no gene or no compound is left: give the whole metadata")
    smiles = {}
    if "SMILES" in told:
        named = told.loc[dosed & (told["SMILES"] != "")].drop_duplicates("perturbation")
        cut = [re.split(r"[\s|]", text.strip())[0] for text in named["SMILES"]]
        smiles = dict(zip(named["perturbation"], cut, strict=True))
    compounds = pd.DataFrame(
        {
            "compound": [name for name, _ in parts],
            "concentration_um": [float(dose) for _, dose in parts],
            "smiles": [smiles.get(name, "") for name, _ in parts],
        }
    )
    return Map(genes, gene_profiles, compounds, compound_profiles)


def scores_by_dose(
    compounds: pd.DataFrame,
    profiles: Float[np.ndarray, "c d"],
    gene_profiles: Float[np.ndarray, "g d"],
) -> dict[str, dict[str, Float[np.ndarray, " g"]]]:
    """|cosine| of each compound to each gene, at each of the grid's doses and at its best one.

    Args:
        compounds: See `Map`.
        profiles: Of these; rows of NaN are left out.
        gene_profiles: Of the genes.
    """
    score = np.abs(cosines(profiles, gene_profiles))
    usable = np.isfinite(score).all(axis=1)
    dose = compounds["concentration_um"].to_numpy(np.float64)
    names = compounds["compound"].to_numpy(str)
    found: dict[str, dict[str, np.ndarray]] = {}
    best: dict[str, np.ndarray] = {}
    for grid in DOSES_UM:
        rows = np.flatnonzero(usable & np.isclose(dose, grid, rtol=_SAME_DOSE))
        if len(rows):
            found[f"{grid:g}"] = {names[i]: score[i] for i in rows}
        for i in rows:
            before = best.get(names[i])
            best[names[i]] = score[i] if before is None else np.maximum(before, score[i])
    if len(found) > 1:
        found[MAX_OVER_DOSES] = best
    return found


def cross_modal(
    model: Model, wells: Wells, genes: Sequence[str], compounds: pd.DataFrame
) -> tuple[Float[np.ndarray, "c e"], Float[np.ndarray, "g e"]]:
    """Compounds by their structure and dose, genes by their images, in a model's space.

    Docs/method.md §8: the paper's E.2. Molecules that the model cannot take are rows of NaN.

    Raises:
        ModelError: The wells have other features than the model, or conditions are to be told.
    """
    told = wells.told
    control = (told["perturbation"] == CONTROL).to_numpy()
    asked = _gene_rows(told) & told["perturbation"].isin(list(genes)).to_numpy()
    rows = np.flatnonzero(asked | control)
    table = pd.DataFrame(wells.x[rows], columns=list(wells.features))
    labels = told["perturbation"].to_numpy(str)[rows]
    z = model.embed_profiles(
        table,
        controls=control[rows],
        groups=told["experiment_name"].to_numpy(str)[rows],
        average=labels,
    )
    place = {label: i for i, label in enumerate(pd.unique(labels))}
    z_genes = z[[place[gene] for gene in genes]]
    known = np.flatnonzero((compounds["smiles"] != "").to_numpy())
    z_compounds = np.full((len(compounds), z.shape[1]), np.nan, np.float32)
    some = compounds.iloc[known]
    z_compounds[known] = model.embed_molecules(
        some["smiles"].tolist(),
        concentration_um=some["concentration_um"].to_numpy(np.float64),
        invalid="nan",
    )
    return z_compounds, z_genes


def count_trained_on(smiles: Mapping[str, str], splits: pd.DataFrame) -> int:
    """How many compounds a run was trained or chosen on, by its `splits.csv`."""
    seen = set(splits.loc[splits["split"] != "unseen_molecules", "inchikey"].str[:14])
    keys = standardise(list(smiles.values()))["inchikey"]
    return sum(key is not None and key[:14] in seen for key in keys)


def _table(path: pathlib.Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        table = read_text(path)
    except WellsError as error:
        raise PublishedError(str(error)) from error
    for name in needed:
        if name not in table.columns:
            raise PublishedError(f"{path}: no column {name}{near(name, table.columns)}")
    return table.reset_index(drop=True)


def _key(key: object) -> str:
    return re.sub("plate", "", str(key), flags=re.IGNORECASE).strip()


def _gene_rows(told: pd.DataFrame) -> np.ndarray:
    control = told["perturbation"].str.contains("_control", regex=False)
    return ((told["perturbation_type"] == "CRISPR") & ~control).to_numpy()


def _compound_rows(told: pd.DataFrame) -> np.ndarray:
    control = told["perturbation"].str.contains("_control", regex=False)
    drug = (told["perturbation_type"] == "COMPOUND") & ~control
    return (drug & told["concentration"].notna()).to_numpy()


def _averaged(
    x: Float[np.ndarray, "n d"], rows: np.ndarray, labels: np.ndarray
) -> tuple[tuple[str, ...], Float[np.ndarray, "k d"]]:
    names, code = np.unique(labels[rows], return_inverse=True)
    sums = np.zeros((len(names), x.shape[1]))
    np.add.at(sums, code, x[rows])
    return tuple(names.tolist()), sums / np.bincount(code, minlength=len(names))[:, None]
