"""A screen of the paper's size, written straight as a prepared screen: for measuring, not learning.

1,316,283 perturbations with 2.15 million wells of 1,024 numbers (docs/method.md §5): clusters of
molecules share a profile and a few fingerprint bits, and the rest is noise. There are no structures
behind the bits, so SMILES and scaffolds are names; p-values are those of a screen where all is
active.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.screens.builders import PerturbationSpec, Record, ScreenContent, write_screen
from molphenix_jax.screens.builders.molecules import molecule_records
from molphenix_jax.storage import new_folder
from molphenix_jax.wells.conditions.values import Conditions

# Bits of the blocks of the paper's model without MolGPS, 4,263 together (docs/method.md §4).
BLOCKS: Mapping[str, int] = {"morgan": 2048, "maccs": 167, "rdkit": 2048}

_CHUNK = 2048
_DENSITY = 0.02  # share of bits set
_MOST_REPLICATES = 4
_SHARD_WELLS = 2**15


@dataclasses.dataclass(frozen=True)
class ScaleConfig:
    """Size of the screen; the defaults are the paper's.

    Attributes:
        n_molecules: Molecules, each at every dose.
        doses_um: Concentrations in µM.
        n_wells: Wells; each perturbation has 1 to 4.
        width: Features of a profile.
        n_clusters: Groups of molecules that share profile and bits.
        seed: Of everything random.
    """

    n_molecules: int = 438_761
    doses_um: tuple[float, ...] = (0.1, 1.0, 10.0)
    n_wells: int = 2_150_000
    width: int = 1024
    n_clusters: int = 2_000
    seed: int = 0

    @property
    def n_perturbations(self) -> int:
        """(molecule, concentration) pairs."""
        return self.n_molecules * len(self.doses_um)


def write_scale_screen(config: ScaleConfig, folder: pathlib.Path) -> None:
    """Writes the screen into `folder`, which must not exist yet.

    Raises:
        ValueError: So many wells cannot be 1 to 4 for each perturbation.
    """
    offsets = _offsets(config)
    starts = np.searchsorted(offsets, np.arange(0, config.n_wells, _SHARD_WELLS))
    starts = np.unique(np.append(starts, config.n_perturbations))
    molecule = np.repeat(np.arange(config.n_molecules), len(config.doses_um))
    index = {
        "offsets": offsets,
        "molecule": molecule,
        "concentration_um": np.tile(np.array(config.doses_um, np.float32), config.n_molecules),
        "condition": np.zeros(config.n_perturbations, np.int32),
        "p_value": np.zeros(config.n_perturbations, np.float32),
    }
    # Prepared with data.correction=none: profiles are as they are drawn.
    two = np.zeros((2, config.width))
    content = ScreenContent(
        name="simulated_scale",
        spec=PerturbationSpec(
            description=f"a simulated screen of {config.n_wells:,} wells",
            width=config.width,
            groups=("all",),
            conditions=Conditions(),
            has_truth=False,
        ),
        perturbations=[
            functools.partial(_perturbations, config, offsets, int(first), int(stop))
            for first, stop in zip(starts[:-1], starts[1:], strict=True)
        ],
        molecules=[
            functools.partial(_molecules, config, first, min(first + 2**16, config.n_molecules))
            for first in range(0, config.n_molecules, 2**16)
        ],
        blocks=BLOCKS,
        bits=frozenset(BLOCKS),
        index=lambda: index,
        feature_names=[f"feature_{i}" for i in range(config.width)],
        correction=fit_correction(two, ["all"] * 2, np.ones(2, bool), method="none"),
        null=NullProfiles.none(config.width),
        wells=pa.table(
            {"group": pa.DictionaryArray.from_arrays(np.zeros(config.n_wells, np.int32), ["all"])}
        ),
        rejected=pd.DataFrame({"row": [], "field": [], "reason": []}),
        notes=lambda: ("simulated to measure speed and memory; the bits are of no structures",),
        provenance=dataclasses.asdict(config),
    )
    with new_folder(folder) as private:
        write_screen(content, private)


def _offsets(config: ScaleConfig) -> np.ndarray:
    extra = config.n_wells - config.n_perturbations
    places = config.n_perturbations * (_MOST_REPLICATES - 1)
    if not 0 <= extra <= places:
        raise ValueError(
            f"{config.n_wells:,} wells for {config.n_perturbations:,} perturbations: each has 1 to "
            f"{_MOST_REPLICATES}"
        )
    taken = np.random.default_rng(config.seed).permutation(places)[:extra]
    counts = 1 + np.bincount(taken // (_MOST_REPLICATES - 1), minlength=config.n_perturbations)
    return np.concatenate([[0], np.cumsum(counts)])


def _perturbations(
    config: ScaleConfig, offsets: np.ndarray, first: int, stop: int
) -> Iterator[Record]:
    rng = np.random.default_rng([config.seed, 1, first])
    centers = np.random.default_rng([config.seed, 0]).standard_normal(
        (config.n_clusters, config.width), np.float32
    )
    n_doses = len(config.doses_um)
    for start in range(first, stop, _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, stop))
        counts = np.diff(offsets[ids[0] : ids[-1] + 2])
        of_well = np.repeat(ids, counts)
        # The effect grows with the dose and stands above the noise of a well at the highest.
        strength = ((1 + of_well % n_doses) / n_doses).astype(np.float32)
        wells = rng.standard_normal((len(of_well), config.width), np.float32)
        wells += centers[(of_well // n_doses) % config.n_clusters] * strength[:, None]
        ends = np.cumsum(counts)
        for i, end, count in zip(ids.tolist(), ends.tolist(), counts.tolist(), strict=True):
            yield (
                i,
                {
                    "replicates": wells[end - count : end],
                    "replicate_group": [0] * count,
                    "molecule": i // n_doses,
                    "smiles": _name(i // n_doses),
                    "inchikey": _inchikey(i // n_doses),
                    "concentration_um": config.doses_um[i % n_doses],
                    "condition": 0,
                    "p_value": 0.0,
                },
            )


def _molecules(config: ScaleConfig, first: int, stop: int) -> Iterator[Record]:
    rng = np.random.default_rng([config.seed, 3, first])
    prototypes = np.random.default_rng([config.seed, 2])
    shared = {
        name: prototypes.random((config.n_clusters, width), np.float32) < _DENSITY
        for name, width in BLOCKS.items()
    }
    for start in range(first, stop, _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, stop))
        cluster = ids % config.n_clusters
        blocks = {
            name: (
                (rng.random((len(ids), width), np.float32) < _DENSITY) | shared[name][cluster]
            ).astype(np.uint8)
            for name, width in BLOCKS.items()
        }
        table = pd.DataFrame(
            {
                "smiles": [_name(i) for i in ids.tolist()],
                "inchikey": [_inchikey(i) for i in ids.tolist()],
                "scaffold": [f"cluster {c}" for c in cluster],
            }
        )
        yield from molecule_records(table, blocks, first=start)


def _name(molecule: int) -> str:
    return f"simulated-{molecule}"


def _inchikey(molecule: int) -> str:
    """In the form of an InChIKey, its first block as unique as the molecule."""
    letters = []
    for _ in range(14):
        molecule, digit = divmod(molecule, 26)
        letters.append(chr(ord("A") + digit))
    return "".join(letters) + "-SIMULATEDS-N"
