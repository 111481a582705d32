"""Wells to a screen: read → correct → group → p-value → molecule blocks, kept in a cache folder.

The cache key is a hash of everything the screen is computed from: the bytes of the source, the
parameters, the featuriser's version. A changed input is another key, so nothing stale is ever read.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import platformdirs

from molphenix_jax.data.builders import FORMAT_VERSION
from molphenix_jax.data.screen import Screen, ScreenError
from molphenix_jax.data.simulated import SimulationConfig, simulate_wells
from molphenix_jax.data.store import ScreenStore, save_screen
from molphenix_jax.data.wells import Wells, WellsError, read_wells
from molphenix_jax.molecules import (
    FEATURISER_VERSION,
    check_smiles,
    featurise,
    load_embeddings,
    standardise,
)
from molphenix_jax.phenomics import Method, aggregate, fit_correction, replicate_consistency


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What turns a wells file into a screen.

    Attributes:
        columns: Our column name → the file's.
        features: Regular expression over feature columns; empty chooses by rule (see `read_wells`).
        correction: Batch correction: none, centerscale, pca_cs or tvn.
        group_by: What the correction works within: plate, batch or auto.
        clip: Corrected features are limited to ± this many control standard deviations.
        n_null: Random groups behind each replicate-consistency p-value.
        blocks: Molecule features by name: morgan, maccs, rdkit, physchem.
        embeddings: Further blocks: name → file of precomputed embeddings.
        seed: Of the p-values' null.
    """

    columns: Mapping[str, str]
    features: str
    correction: Method
    group_by: str
    clip: float
    n_null: int
    blocks: tuple[str, ...]
    embeddings: Mapping[str, str]
    seed: int


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A screen with the rows that did not make it."""

    screen: Screen
    rejected: pd.DataFrame
    from_cache: bool


def cache_folder(configured: str) -> pathlib.Path:
    """The configured folder, or $MOLPHENIX_CACHE, or the user's cache folder."""
    return pathlib.Path(
        configured or os.environ.get("MOLPHENIX_CACHE") or platformdirs.user_cache_dir("molphenix")
    )


def prepare(
    path: str | pathlib.Path,
    config: PrepareConfig,
    *,
    cache: pathlib.Path,
    name: str = "",
    truth_path: pathlib.Path | None = None,
    reference: Screen | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Prepares a wells file, or loads the result of an earlier call with the same inputs.

    Args:
        path: Wells table, Parquet or CSV.
        config: Parameters.
        cache: Folder of prepared screens.
        name: Short name of the screen; empty takes the file's.
        truth_path: Wells table with the same rows whose embeddings hold no replicate noise
            (simulated screens); corrected with the same statistics.
        reference: The training screen, when this one is an unseen screen: its global correction
            stage and its features are taken over, so that both lie in the same space.
        say: Is told, sentence by sentence, what is being done.

    Raises:
        WellsError: The file has no usable row, or lacks features of the reference.
    """
    # A metadata and an embeddings file may come as "metadata.csv,embeddings.parquet".
    sources = [pathlib.Path(part) for part in str(path).split(",")]
    name = name or sources[0].stem
    provenance = {
        "format": FORMAT_VERSION,
        "source": [source.name for source in sources],
        "source_sha256": [_sha256(source) for source in sources],
        "featuriser": FEATURISER_VERSION,
        "parameters": {**dataclasses.asdict(config), "columns": dict(config.columns)},
        "embeddings_sha256": {n: _sha256(pathlib.Path(f)) for n, f in config.embeddings.items()},
        "truth_sha256": _sha256(truth_path) if truth_path else None,
        "reference": reference.provenance if reference else None,
    }
    key = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache / f"{name}-{key}"
    if folder.exists():
        store = ScreenStore.open(folder)
        say(f"prepared screen found in {folder}")
        return Prepared(store.load(), store.rejected(), from_cache=True)

    say(f"reading {path}")
    wells = read_wells(
        path,
        columns=config.columns,
        features=config.features,
        check_smiles=check_smiles,
        group_by=config.group_by,
        feature_names=reference.feature_names if reference else (),
    )
    screen = _build(name, wells, config, truth_path, reference, provenance, say)
    cache.mkdir(parents=True, exist_ok=True)
    save_screen(screen, folder, rejected=wells.rejected)
    say(f"prepared screen kept in {folder}")
    return Prepared(screen, wells.rejected, from_cache=False)


def prepare_simulated(
    simulation: SimulationConfig,
    config: PrepareConfig,
    *,
    cache: pathlib.Path,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Simulates the built-in screen (once per configuration) and prepares it like any other."""
    parameters = json.dumps(dataclasses.asdict(simulation), sort_keys=True, default=str)
    key = hashlib.sha256(parameters.encode()).hexdigest()[:16]
    folder = cache / f"simulated-wells-{key}"
    if not (folder / "truth.parquet").exists():
        say("simulating the built-in screen")
        folder.mkdir(parents=True, exist_ok=True)
        simulate_wells(simulation, folder)
    wells, truth = folder / "wells.parquet", folder / "truth.parquet"
    return prepare(wells, config, cache=cache, name="simulated", truth_path=truth, say=say)


def _sha256(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WellsError(f"{path} cannot be read: {error.strerror}") from error


def _build(
    name: str,
    wells: Wells,
    config: PrepareConfig,
    truth_path: pathlib.Path | None,
    reference: Screen | None,
    provenance: dict,
    say: Callable[[str], None],
) -> Screen:
    notes = list(wells.notes)
    embedding = wells.embedding
    group = wells.table[wells.group_by].to_numpy(str)
    is_control = wells.table["is_control"].to_numpy(bool)

    n, d = embedding.shape
    say(f"correcting {n:,} wells × {d:,} features within {wells.group_by}")
    correction = (
        reference.correction.extend(embedding, group, is_control)
        if reference
        else fit_correction(
            embedding, group, is_control, method=config.correction, clip=config.clip
        )
    )
    notes += correction.notes
    treated = np.flatnonzero(~is_control)
    corrected = correction.apply(embedding[treated], group[treated])

    molecules, molecule_of_well = _molecules(wells.table["smiles"].iloc[treated])
    dose = _three_digits(wells.table["concentration_um"].to_numpy(np.float64)[treated])
    order, offsets, molecule, concentration_um = _group(molecule_of_well, dose)
    replicates = corrected[order]
    perturbation = np.repeat(np.arange(len(molecule)), np.diff(offsets))

    say(f"p-values of {len(molecule):,} perturbations of {len(molecules):,} molecules")
    consistency = replicate_consistency(
        replicates, perturbation, n_null=config.n_null, seed=config.seed
    )
    notes += consistency.notes
    p_value = consistency.p_value.astype(np.float32)
    undefined = int(np.isnan(p_value).sum())
    if undefined:
        notes.append(
            f"{undefined:,} of {len(p_value):,} perturbations have a single replicate: their "
            "p-value is undefined"
        )
    truth = None
    if truth_path is not None:
        expected = read_wells(truth_path, check_smiles=None, group_by=wells.group_by).embedding
        expected = expected + _group_offsets(wells, group)
        truth = aggregate(
            correction.apply(expected[treated], group[treated])[order],
            perturbation,
            len(molecule),
        )
    say(f"featurising {len(molecules):,} molecules: {', '.join(config.blocks)}")
    blocks = {block: featurise(molecules["smiles"].tolist(), block) for block in config.blocks}
    for block, file in config.embeddings.items():
        try:
            blocks[block] = load_embeddings(file, molecules)
        except (OSError, ValueError) as error:
            raise ScreenError(f"molecules.embeddings, block {block}: {error}") from error
    return Screen(
        name=name,
        replicates=replicates.astype(np.float32),
        offsets=offsets,
        replicate_group=group[treated][order],
        molecule=molecule,
        concentration_um=concentration_um.astype(np.float32),
        p_value=p_value,
        molecules=molecules,
        blocks=blocks,
        feature_names=wells.feature_names,
        correction=correction,
        truth=truth,
        notes=tuple(notes),
        provenance=provenance,
    )


def _group_offsets(wells: Wells, group: np.ndarray) -> np.ndarray:
    """How far the controls of each well's group lie from those of its batch, [n, d].

    The truth holds no plate effects, so a correction within plates would put them in with the sign
    turned round; this is what it takes out.
    """
    controls = wells.table["is_control"].to_numpy(bool)
    batch = wells.table["batch"].to_numpy(str)
    offset = np.empty_like(wells.embedding)
    for name in np.unique(group):
        members = group == name
        of_batch = controls & np.isin(batch, batch[members])
        own = wells.embedding[controls & members].mean(axis=0)
        offset[members] = own - wells.embedding[of_batch].mean(axis=0)
    return offset


def _molecules(smiles: pd.Series) -> tuple[pd.DataFrame, np.ndarray]:
    """Unique molecules by InChIKey, and the molecule of each well."""
    unique = pd.unique(smiles)
    table = standardise(unique.tolist())
    row_of_smiles = pd.Series(pd.factorize(table["inchikey"])[0], index=unique)
    molecules = table.drop_duplicates("inchikey").filter(["smiles", "inchikey", "scaffold"])
    return molecules.reset_index(drop=True), row_of_smiles.loc[smiles].to_numpy()


def _three_digits(concentration_um: np.ndarray) -> np.ndarray:
    """Rounds to three significant digits, so that 0.1 and 0.1000001 µM are one dose."""
    exponent = np.floor(np.log10(concentration_um))
    unit = 10.0 ** (exponent - 2)
    return np.round(concentration_um / unit) * unit


def _group(
    molecule: np.ndarray, dose: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sorts wells by (molecule, dose): order, offsets, then molecule and dose of each pair."""
    order = np.lexsort((dose, molecule))
    m, c = molecule[order], dose[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(m) != 0) | (np.diff(c) > 1e-9 * c[1:])])
    return order, np.r_[starts, len(order)], m[starts], c[starts]
