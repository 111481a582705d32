"""A model that was never trained, wells whose effects are known, a library that holds them."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import molphenix_jax
from molphenix_jax.models import ConcentrationEncoding, MolPhenix, TowerConfig
from molphenix_jax.molecules import FEATURISER_VERSION, shipped_smiles, standardise
from molphenix_jax.molecules.graphs import graphs_version
from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.retrieval.index import open_index
from molphenix_jax.retrieval.index.folder import Place, write_part
from molphenix_jax.trained.alignment import Alignment, write_alignment
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.trained.scaling import fit_scaling
from molphenix_jax.trained.sides import MoleculeSide, PhenomicSide
from molphenix_jax.wells.conditions.values import Conditions

WIDTH, MEMBERS, DIM, DOSES = 6, 2, 8, (1.0, 10.0)
FEATURES = tuple(f"Cells_AreaShape_F{j}" for j in range(WIDTH))
TOWER = TowerConfig(16, 1)


def molecules(n: int) -> pd.DataFrame:
    """Standard forms of the first n shipped molecules with rings, no two of one connectivity."""
    found = standardise(shipped_smiles()[: 3 * n + 60])
    found = found[found["error"].isna() & (found["scaffold"].fillna("") != "")]
    one = found[~found["inchikey"].str[:14].duplicated()]
    return one.head(n).reset_index(drop=True)


def plates(effects, *, names=("P1", "P2"), replicates=2, n_controls=16, seed=0) -> pd.DataFrame:
    """Plates of DMSO wells and of wells with effects, in SDs of the controls.

    Args:
        effects: What a well holds → the effect on each feature; a tuple is a name, a SMILES and a
            dose.
        names: Of the plates.
        replicates: On each.
        n_controls: On each.
        seed: Of the noise.
    """
    rng, rows, x = np.random.default_rng(seed), [], []
    for plate in names:
        shift = rng.normal(size=WIDTH) * 3
        held = [("DMSO", "", np.nan)] * n_controls + list(effects) * replicates
        for number, (name, smiles, dose) in enumerate(held):
            control = name == "DMSO"
            effect = np.zeros(WIDTH) if control else np.asarray(effects[name, smiles, dose])
            rows.append(
                {
                    "plate": plate,
                    "well": f"{'ABCDEFGH'[number // 12 % 8]}{number % 12 + 1:02}",
                    "compound": name,
                    "smiles": smiles,
                    "dose_um": 0.0 if control else dose,
                    "is_control": control,
                }
            )
            x.append(100 + shift + rng.normal(size=WIDTH) + effect)
    return pd.DataFrame(rows).assign(**dict(zip(FEATURES, np.array(x).T, strict=True)))


@functools.cache
def initialised(network: MolPhenix, n_features: int, width: int, seed: int):
    """Parameters of an ensemble that was never trained, for inputs of these widths."""
    inputs = (jnp.zeros((2, n_features)), jnp.zeros((2, width)))
    init = jax.jit(jax.vmap(lambda key: network.init(key, *inputs)))
    return jax.device_get(init(jax.random.split(jax.random.key(seed), MEMBERS)))


def write_run(
    folder: pathlib.Path,
    *,
    train=(),
    held_out: HeldOut | None = None,
    conditions=None,
    features=FEATURES,
    seed=0,
) -> pathlib.Path:
    """The model folder of a run."""
    rng = np.random.default_rng(1)
    network = MolPhenix(TOWER, TOWER, dim=DIM)
    wells = rng.normal(size=(200, len(features)))
    correction = fit_correction(wells, ["p"] * 200, np.ones(200, bool), method="tvn")
    corrected = correction.apply(wells, ["p"] * 200)
    conditions = conditions or Conditions()
    dose = ConcentrationEncoding.fit(np.array(DOSES), kind="log")
    bits = rng.integers(0, 2, size=(20, 167)).astype(np.float32)
    side = MoleculeSide(
        network, ("maccs",), fit_scaling([bits], components=0, whiten=0.0), dose, conditions
    )
    forms = standardise(list(train))
    model = Alignment(
        params=initialised(network, len(features), side.width, seed),
        phenomic=PhenomicSide(network, fit_scaling([corrected], components=0, whiten=0.0)),
        molecular=side,
        block_widths={"maccs": 167},
        feature_names=tuple(features),
        correction=correction,
        null=NullProfiles(corrected, np.full(200, "p"), np.zeros(200, np.int64)),
        splits=forms[["inchikey", "smiles"]].assign(split="train").astype(str),
        about={
            "screen": {"name": "made", "conditions": conditions.as_json()},
            "featuriser": {
                "features": FEATURISER_VERSION,
                "graphs": graphs_version("mpnn++"),
                "max_atoms": 128,
            },
            "trained": {
                **{"pairs": 3, "molecules": 2, "updates": 1},
                **{"loss": "s2l", "members": MEMBERS},
            },
        },
        held_out=held_out,
    )
    write_alignment(folder / "model", model, config={"task": "align"})
    return folder


def write_index(folder: pathlib.Path, model, embeddings, table, *, conditions=None):
    """A library of these embeddings [n, k, e]."""
    library = {"name": "library.smi", "rows": len(table)}
    write_part(
        folder,
        Place(0, "a" * 64, 1, 1, 0, 1),
        embeddings=embeddings,
        molecules=table.assign(
            id=[f"m{i}" for i in range(len(table))],
            input_smiles=table["smiles"],
            row=np.arange(1, len(table) + 1),
        ),
        rejected=pd.DataFrame({n: [] for n in ("row", "field", "value", "reason")}),
        about={
            "model": {"name": str(model.path), "digest": model.digest},
            "featuriser": {},
            "doses_um": list(DOSES),
            "conditions": conditions or {},
            "width": model.width,
            "library": library,
        },
    )
    return open_index(folder)


def embedded(model, table: pd.DataFrame) -> np.ndarray:
    """Embeddings of molecules at each dose."""
    smiles = table["smiles"].tolist()
    return np.stack([model.embed_molecules(smiles, concentration_um=d) for d in DOSES], axis=1)


def load(folder: pathlib.Path):
    """The model of a run."""
    return molphenix_jax.load(folder)
