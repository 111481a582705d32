"""What the molecules of the simulated screen do to cells, without plates and noise.

The equations stand in `molphenix_jax.simulated`. Everything random is drawn from a stream
named by what it belongs to (a target, a pathway, a molecule's InChIKey), so a molecule has the same
effect in every screen with the same `biology_seed`, whatever other molecules are in it.
"""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
from jaxtyping import Float

from molphenix_jax import molecules
from molphenix_jax.simulated.targets import TARGETS


@dataclasses.dataclass(frozen=True)
class BiologyConfig:
    """Numbers of the dose-effect equations; amplitudes in units of the replicate noise."""

    # Fixes directions, structure-activity weights and what belongs to a molecule alone.
    biology_seed: int = 0
    # d, width of the embedding.
    n_features: int = 128
    # Spread of pEC50 within a ligand class, the part that follows structure and the part that none
    # explains.
    sd_sar: float = 0.6
    sd_potency: float = 0.4
    # Share of ligands that do not act: not taken up, or the cell lacks the target.
    silent_rate: float = 0.3
    # Share of molecules with one more target that no structure explains, and its mean pEC50.
    off_target_rate: float = 0.1
    off_target_pec50: float = 5.0
    # Mean pEC50 of general toxicity at logP 3, its change per unit of logP, and its slope.
    toxicity_pec50: float = 3.2
    toxicity_per_logp: float = 0.3
    toxicity_hill: float = 2.5
    # Length of the effect of full occupancy: shared by the ligands of all targets of a pathway, by
    # those of one target, and of one molecule alone (its minor targets, its metabolites).
    amplitude_pathway: float = 14.0
    amplitude_target: float = 14.0
    amplitude_own: float = 10.0
    # Correlation of a molecule's own direction with what its structure predicts.
    own_from_structure: float = 0.7
    # Length of the effect of dying.
    amplitude_toxicity: float = 28.0


@dataclasses.dataclass(frozen=True)
class Biology:
    """What decides the effect of n molecules.

    Attributes:
        pec50: [n, t] -log10(EC50 / M) on each target, -inf for no binding.
        toxicity_pec50: [n] of general toxicity.
        hill: [t] slopes.
        directions: [t, d] effect of full occupancy of each target: pathways and its own.
        own: [n, d] effect of a molecule alone at full occupancy.
        toxicity: [d] effect of death.
        toxicity_hill: slope of toxicity.
    """

    pec50: Float[np.ndarray, "n t"]
    toxicity_pec50: Float[np.ndarray, " n"]
    hill: Float[np.ndarray, " t"]
    directions: Float[np.ndarray, "t d"]
    own: Float[np.ndarray, "n d"]
    toxicity: Float[np.ndarray, " d"]
    toxicity_hill: float


def stream(seed: int, *names: object) -> np.random.Generator:
    """Random numbers that belong to the seed and to a name, and to nothing else."""
    digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def hill(
    concentration_um: float | np.ndarray, pec50: np.ndarray, slope: float | np.ndarray
) -> np.ndarray:
    """Share of a target that is occupied, c^h / (c^h + EC50^h): 0 without compound, half at EC50.

    Args:
        concentration_um: concentration in µM.
        pec50: -log10 of EC50 in M; -inf for a molecule that does not bind.
        slope: Hill slope h.
    """
    with np.errstate(divide="ignore"):
        log_ratio = slope * (np.log10(concentration_um) - 6.0 + pec50)
    return 1.0 / (1.0 + 10.0 ** np.clip(-log_ratio, -300.0, 300.0)) * np.isfinite(log_ratio)


def draw_biology(table: pd.DataFrame, config: BiologyConfig) -> Biology:
    """Potencies and directions of molecules (equations 1, 3 and 5).

    Args:
        table: n rows of `standardise` without errors: columns `smiles`, `inchikey`.
        config: numbers and seed.
    """
    seed, width = config.biology_seed, config.n_features
    smiles, inchikeys = table["smiles"].tolist(), table["inchikey"].tolist()
    bits = molecules.featurise(smiles, "morgan").astype(np.float64)
    bits /= np.maximum(np.linalg.norm(bits, axis=1, keepdims=True), 1.0)
    logp = molecules.descriptors(smiles, names=("MolLogP",))[:, 0].astype(np.float64)
    own_streams = [stream(seed, "molecule", key) for key in inchikeys]

    # One draw each, in a fixed order, from each molecule's stream.
    own_luck = np.stack([rng.standard_normal(len(TARGETS)) for rng in own_streams])
    tox_luck = np.array([rng.standard_normal() for rng in own_streams])
    has_off_target = np.array([rng.random() < config.off_target_rate for rng in own_streams])
    off_target = np.array([rng.integers(len(TARGETS)) for rng in own_streams])
    off_luck = np.array([rng.standard_normal() for rng in own_streams])
    unexplained = np.stack([_direction(rng, width) for rng in own_streams])
    silent = np.stack([rng.random(len(TARGETS)) < config.silent_rate for rng in own_streams])

    binds = _matches(smiles) & ~silent
    sar = bits @ np.stack(
        [stream(seed, "sar", name).standard_normal(bits.shape[1]) for name in TARGETS], axis=1
    )
    mean = np.array([target.pec50 for target in TARGETS.values()])
    per_logp = np.array([target.per_logp for target in TARGETS.values()])
    pec50 = mean + per_logp * (logp[:, None] - 3.0)
    pec50 = np.where(binds, pec50 + config.sd_sar * sar + config.sd_potency * own_luck, -np.inf)
    rows = np.flatnonzero(has_off_target)
    extra = config.off_target_pec50 + np.hypot(config.sd_sar, config.sd_potency) * off_luck
    pec50[rows, off_target[rows]] = np.maximum(pec50[rows, off_target[rows]], extra[rows])

    explained = bits @ stream(seed, "own").standard_normal((bits.shape[1], width))
    explained /= np.maximum(np.linalg.norm(explained, axis=1, keepdims=True), 1e-12)
    share = config.own_from_structure
    return Biology(
        pec50=pec50,
        toxicity_pec50=config.toxicity_pec50
        + config.toxicity_per_logp * (logp - 3.0)
        + config.sd_potency * tox_luck,
        hill=np.array([target.hill for target in TARGETS.values()]),
        directions=np.stack([_target_direction(name, config) for name in TARGETS]),
        own=config.amplitude_own * (share * explained + np.sqrt(1.0 - share**2) * unexplained),
        toxicity=config.amplitude_toxicity * _direction(stream(seed, "toxicity"), width),
        toxicity_hill=config.toxicity_hill,
    )


def effects(biology: Biology, concentration_um: float) -> Float[np.ndarray, "n d"]:
    """Displacement of the embedding by each molecule at one concentration (equation 4)."""
    occupied = hill(concentration_um, biology.pec50, biology.hill)
    dying = hill(concentration_um, biology.toxicity_pec50, biology.toxicity_hill)[:, None]
    specific = occupied @ biology.directions + occupied.max(axis=1, keepdims=True) * biology.own
    return (1.0 - dying) * specific + dying * biology.toxicity


def _matches(smiles: list[str]) -> np.ndarray:
    patterns = {
        f"{name} {i}": smarts
        for name, target in TARGETS.items()
        for i, smarts in enumerate(target.smarts)
    }
    hits = molecules.match_substructures(smiles, patterns)
    owner = [name.split()[0] for name in patterns]
    return np.stack(
        [hits[:, [other == name for other in owner]].any(axis=1) for name in TARGETS], axis=1
    )


def _target_direction(name: str, config: BiologyConfig) -> np.ndarray:
    seed, width = config.biology_seed, config.n_features
    pathways = TARGETS[name].pathways
    shared = sum(_direction(stream(seed, "pathway", pathway), width) for pathway in pathways)
    alone = _direction(stream(seed, "target", name), width)
    return (
        config.amplitude_pathway * shared / np.sqrt(len(pathways)) + config.amplitude_target * alone
    )


def _direction(rng: np.random.Generator, width: int) -> np.ndarray:
    vector = rng.standard_normal(width)
    return vector / np.linalg.norm(vector)
