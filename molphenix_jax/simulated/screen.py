"""The built-in screen: real molecules, a stated generative model, an ordinary wells table.

It lets anybody run the whole pipeline without a download, and unlike a real screen it knows the
truth: `truth.parquet` holds what each well would show without noise, so the recall of an oracle
that knows all true effects can be reported beside a model's. Molecules are the approved drugs and
ChEMBL samples in `molecules/chembl/`. Nothing downstream can tell the table from a real one.

Equations, for molecule m at concentration c (µM), target t, well w on plate p of experiment e
(upper-case names are fields of the config):

1. Potency. m is a ligand of t if it has one of t's substructures (`targets.TARGETS`); a
   share SILENT_RATE of ligands does not act all the same. For the others
   pEC50(m, t) = mean(t) + per_logp(t) (logP(m) - 3) + SD_SAR g(m, t) + SD_POTENCY eps(m, t).
   g(m, t) = <omega(t), b(m)> / |b(m)|, where b are Morgan bits and omega(t) ~ N(0, I) is fixed: a
   Gaussian process over molecules whose kernel is the cosine of their bits, so that analogues have
   similar potency. eps ~ N(0, 1) belongs to the molecule alone: no structure explains it. A share
   OFF_TARGET_RATE of molecules hits one more target, any, with
   pEC50 ~ N(OFF_TARGET_PEC50, SD_SAR² + SD_POTENCY²).
2. Occupancy. theta(m, t, c) = c^h / (c^h + EC50^h), EC50 = 10^(6 - pEC50) µM, h = hill(t).
3. Toxicity. tau(m, c) is the same with h = TOXICITY_HILL and
   pEC50 = TOXICITY_PEC50 + TOXICITY_PER_LOGP (logP - 3) + SD_POTENCY eps'(m): lipophilic molecules
   kill cells at high dose.
4. Effect. e(m, c) = (1 - tau) [ sum_t theta a(t) + max_t theta u(m) ] + tau k:
   dying cells lose their specific phenotype and look alike.
5. Directions. With random unit vectors v of the embedding space, a(t) = AMPLITUDE_PATHWAY
   sum_p v(p) / sqrt(#p) + AMPLITUDE_TARGET v(t) over the pathways p of t, and
   k = AMPLITUDE_TOXICITY v. A molecule's own direction is half explained by structure: u(m) =
   AMPLITUDE_OWN (rho B b(m) / |B b(m)| + sqrt(1 - rho²) v(m)), B fixed, rho = OWN_FROM_STRUCTURE.
6. Well. x(w) = scale * (mean + gain(e) * [e(m, c) + plate(p) + edge(w) + noise(w)] + shift(e)),
   * per feature. noise ~ N(0, SD_NOISE² I + L L^T) with NOISE_MODES shared modes (cell density,
   cell cycle) of length NOISE_MODE; plate(p) and shift(e) are Gaussian, gain(e) and scale
   lognormal; edge(w) is one direction, present in the outer ring of wells. Controls have
   e(m, c) = 0.
7. Truth. scale * (mean + gain(e) * e(m, c) + shift(e)): what a well is expected to show, given its
   treatment and its experiment. Plate, edge and noise are left out, plate and edge on purpose: an
   oracle that knew them would find an inactive perturbation by the plates it happened to lie on,
   which no molecule can tell.

To compare the two, fit a correction on the observed controls and apply it to both: the truth's own
controls have no spread to fit.

Why these numbers. Unit is the sd of one feature between replicate wells, so |noise|² is about
n_features + NOISE_MODES NOISE_MODE² = 200. A saturated ligand has |e| = sqrt(14² + 14² + 10²) = 22,
and two of its replicates correlate by 22² / (22² + 200) = 0.71; reproducible perturbations of real
Cell Painting screens lie at 0.6 to 0.8 (Dahlin et al. 2023: 0.8), inactive ones at 0. SD_POTENCY is
about the disagreement of laboratories on one pEC50, SD_SAR makes the spread within a ligand class
0.7 log units. Mean potencies put a few per cent of the perturbations above the noise at 0.1 µM and
about 40% at 30 µM. Shifts between experiments have the length of a strong effect
(1.3 sqrt(128) = 15), those between plates a third of it, and the common mean makes uncorrected
profiles alike (cosine about 0.7, as in RxRx3-core). These are the considerations; no model's
results were.
"""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax import molecules
from molphenix_jax.errors import InputError
from molphenix_jax.memory import need_memory
from molphenix_jax.molecules.files import read_molecules
from molphenix_jax.simulated.effects import BiologyConfig, draw_biology, effects, stream
from molphenix_jax.simulated.targets import BASIC_AMINE

_ROWS, _COLUMNS = 16, 24  # a 384-well plate
_WELLS = _ROWS * _COLUMNS
_MOST = 1_000_000
# Some times the wells of RxRx3; each million takes minutes.
_MOST_WELLS = 10_000_000
_BITS = 2048  # of a Morgan fingerprint
_LAYOUT_BYTES = 400  # of a well's row with its texts
_SEEDS = (0, 2**31 - 1)
# What a field may be, by its name or by its first word; others are within ± `_MOST`.
_RANGE = {
    **dict.fromkeys(("seed", "biology_seed"), _SEEDS),
    **dict.fromkeys(("salt_rate", "silent_rate", "own_from_structure"), (0, 1)),
    "off_target_rate": (0, 1),
    "failed_rate": (0, 0.99),
    **dict.fromkeys(("sd", "amplitude", "noise", "min", "max"), (0, _MOST)),
    "n": (1, 2**31 - 1),  # what the memory cannot hold is told elsewhere
    "noise_modes": (0, 2**31 - 1),
    "controls_per_plate": (1, _WELLS - 1),
    "toxicity_hill": (0.01, 100),
    "concentrations": (1e-9, _MOST),
}


@dataclasses.dataclass(frozen=True)
class SimulationConfig(BiologyConfig):
    """The screen: its molecules, layout and nuisances. Lengths in units of the replicate noise.

    Two configs that differ in `seed` alone are two screens of one biology: other molecules, other
    experiments, and the same effect of a molecule that is in both.
    """

    # Choice of molecules, layout, experiments, noise.
    seed: int = 0
    n_molecules: int = 3500
    concentrations_um: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    # A perturbation has one replicate in each experiment (= batch).
    n_experiments: int = 4
    controls_per_plate: int = 32
    # Share of treated wells that are missing from the table.
    failed_rate: float = 0.02
    # Share of basic amines that every second experiment lists as hydrochloride.
    salt_rate: float = 0.1
    # Size of the molecules: no gases, no large peptides.
    min_heavy_atoms: int = 10
    max_heavy_atoms: int = 60
    # Noise between replicate wells, per feature: the unit of all lengths (0 for none).
    sd_noise: float = 1.0
    # Noise that moves all features together: how many modes, and the length of each.
    noise_modes: int = 8
    noise_mode: float = 3.0
    # Shift between experiments, per feature, and sd of the log of their gain.
    sd_experiment: float = 1.3
    sd_gain: float = 0.1
    # Shift between the plates of an experiment, per feature.
    sd_plate: float = 0.45
    # Length of the shift in the outer ring of wells.
    amplitude_edge: float = 4.0
    # The embedding of untreated cells: its mean per feature, and sd of the log scale over features.
    sd_mean: float = 2.5
    sd_scale: float = 0.5
    # File to draw molecules from (SMILES, CSV, Parquet, SDF); empty takes the shipped ones.
    molecules: str = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "molecules":
                continue
            low, high = _RANGE.get(name, _RANGE.get(name.split("_")[0], (-_MOST, _MOST)))
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, int | float) or not low <= number <= high:
                    raise InputError(f"{name}={value!r}: from {low:,} to {high:,}")
        if not self.concentrations_um:
            raise InputError("concentrations_um is empty: name doses in µM")
        if self.min_heavy_atoms > self.max_heavy_atoms:
            raise InputError(
                f"min_heavy_atoms={self.min_heavy_atoms} is above max_heavy_atoms="
                f"{self.max_heavy_atoms}"
            )
        if self.n_wells > _MOST_WELLS:
            raise InputError(
                f"{self._largest()}: {self.n_wells:,} wells; the built-in screen has at most "
                f"{_MOST_WELLS:,}"
            )

    @property
    def n_plates(self) -> int:
        """Plates of one experiment."""
        pairs = self.n_molecules * len(self.concentrations_um)
        return -(-pairs // (_WELLS - self.controls_per_plate))

    @property
    def n_wells(self) -> int:
        """Wells of all experiments, with the controls."""
        pairs = self.n_molecules * len(self.concentrations_um)
        return self.n_experiments * (pairs + self.n_plates * self.controls_per_plate)

    def need_memory(self) -> None:
        """Ends what this machine cannot hold.

        Raises:
            InputError: Names the largest field and how much would be needed.
        """
        effects = self.n_molecules * (len(self.concentrations_um) + 1)
        of_experiment = self.n_wells / self.n_experiments
        need_memory(
            f"{self._largest()}: {self.n_wells:,} wells of {self.n_features:,} features",
            8 * self.n_features * (self.n_wells + effects + _BITS + self.noise_modes)
            + 8 * self.noise_modes * of_experiment
            + _LAYOUT_BYTES * self.n_wells,
            "lower that field",
        )

    def _largest(self) -> str:
        names = ("n_molecules", "n_experiments", "n_features", "noise_modes")
        name = max(names, key=lambda name: getattr(self, name))
        return f"{name}={getattr(self, name)}"


# Two experiments of 60 molecules at two doses: seconds, for tests.
TINY = SimulationConfig(
    n_molecules=60, concentrations_um=(1.0, 10.0), n_experiments=2, n_features=32
)


def simulate_wells(
    config: SimulationConfig, folder: str | pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Write a screen and its truth.

    Args:
        config: every number of the equations. The same config writes the same content on the
            same machine and library versions.
        folder: made if it is missing; `wells.parquet` and `truth.parquet` are replaced there.

    Returns:
        Paths of the two files. Both have the columns `plate, well, batch, smiles, concentration_um,
        is_control, embedding` (a list of `n_features` float32) and the same rows in the same order.
        Controls have concentration 0 and no SMILES. In the truth, `embedding` is the well's
        expectation given its treatment and its experiment (equation 7).

    Raises:
        InputError: more molecules are asked for than there are.
        WellsError: the file of molecules cannot be read.
    """
    config.need_memory()
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = _choose_molecules(config)
    layout = _lay_out(table, config)
    observed, expected = _embed(layout, _perturbation_effects(table, config), config)
    wells, truth = folder / "wells.parquet", folder / "truth.parquet"
    _write(layout, observed, wells)
    _write(layout, expected, truth)
    return wells, truth


def _choose_molecules(config: SimulationConfig) -> pd.DataFrame:
    """The first usable molecules of a random order of those there are: rows of `standardise`."""
    if config.molecules:
        told = f"molecules of {pathlib.Path(config.molecules).name}"
        shipped = read_molecules(pathlib.Path(config.molecules))[1].smiles
        shipped = list(dict.fromkeys(smiles for smiles in shipped if smiles))
    else:
        told = "built-in ones"
        shipped = list(dict.fromkeys(molecules.shipped_smiles()))
    if len(shipped) < config.n_molecules:
        raise InputError(
            f"n_molecules={config.n_molecules}: there are {len(shipped)} {told}, some of "
            "them salts of one molecule; ask for fewer, or give a file of more (molecules=FILE)"
        )
    order = stream(config.seed, "molecules").permutation(len(shipped))
    found = molecules.standardise([])
    start, block = 0, config.n_molecules + config.n_molecules // 4
    while len(found) < config.n_molecules and start < len(order):
        # Standardising takes the most time here: of no more of them than needed.
        more = molecules.standardise([shipped[i] for i in order[start : start + block]])
        more = more.loc[more["error"].isna()]
        size = molecules.descriptors(more["smiles"].tolist(), names=("HeavyAtomCount",))[:, 0]
        more = more.loc[(size >= config.min_heavy_atoms) & (size <= config.max_heavy_atoms)]
        found = pd.concat([found, more]).drop_duplicates("inchikey", ignore_index=True)
        start, block = start + block, max(config.n_molecules // 4, 50)
    if len(found) < config.n_molecules:
        raise InputError(
            f"n_molecules={config.n_molecules}: only {len(found)} of the {told} have "
            f"{config.min_heavy_atoms} to {config.max_heavy_atoms} heavy atoms; ask for fewer, or "
            "widen min_heavy_atoms and max_heavy_atoms"
        )
    return found.head(config.n_molecules)


def _perturbation_effects(table: pd.DataFrame, config: SimulationConfig) -> np.ndarray:
    """[molecules, concentrations + 1, d]; the last row of each is no treatment."""
    biology = draw_biology(table, config)
    return np.stack([effects(biology, c) for c in (*config.concentrations_um, 0.0)], axis=1)


def _lay_out(table: pd.DataFrame, config: SimulationConfig) -> pd.DataFrame:
    """One row per well: the table's columns, and indices of what the well got and where it is."""
    n_doses = len(config.concentrations_um)
    n_pairs = len(table) * n_doses
    n_plates = -(-n_pairs // (_WELLS - config.controls_per_plate))
    plates = []
    for experiment in range(config.n_experiments):
        rng = stream(config.seed, "layout", experiment)
        for plate, pairs in enumerate(np.array_split(rng.permutation(n_pairs), n_plates)):
            present = pairs[rng.random(len(pairs)) >= config.failed_rate]
            content = np.concatenate([np.full(config.controls_per_plate, -1), present])
            # Controls are scattered, so that the edge of the plate does not set them apart.
            position = rng.permutation(_WELLS)[: len(content)]
            order = np.argsort(position)
            columns = {"pair": content[order], "position": position[order]}
            plates.append(pd.DataFrame({"experiment": experiment, "plate_index": plate, **columns}))
    layout = pd.concat(plates, ignore_index=True)

    is_control = (layout["pair"] < 0).to_numpy()
    molecule = np.where(is_control, 0, layout["pair"] // n_doses)
    dose = np.where(is_control, n_doses, layout["pair"] % n_doses)
    # Another vendor supplies every second experiment.
    names = np.stack([table["smiles"].to_numpy(object), _salts(table, config)])
    smiles = names[layout["experiment"] % 2, molecule]
    smiles[is_control] = None
    row, column = layout["position"] // _COLUMNS, layout["position"] % _COLUMNS
    return layout.assign(
        plate=[
            f"E{experiment + 1}P{plate + 1:02d}"
            for experiment, plate in zip(layout["experiment"], layout["plate_index"], strict=True)
        ],
        well=[f"{chr(65 + r)}{c + 1:02d}" for r, c in zip(row, column, strict=True)],
        batch=[f"experiment-{experiment + 1}" for experiment in layout["experiment"]],
        smiles=smiles,
        concentration_um=np.array([*config.concentrations_um, 0.0])[dose],
        is_control=is_control,
        molecule=molecule,
        dose=dose,
        on_edge=row.isin((0, _ROWS - 1)) | column.isin((0, _COLUMNS - 1)),
    )


def _salts(table: pd.DataFrame, config: SimulationConfig) -> np.ndarray:
    """SMILES as the other vendor lists them: some basic amines as hydrochlorides."""
    smiles = table["smiles"].tolist()
    basic = molecules.match_substructures(smiles, {"basic amine": BASIC_AMINE})[:, 0]
    picked = basic & (stream(config.seed, "salts").random(len(smiles)) < config.salt_rate)
    return np.where(picked, table["smiles"] + ".Cl", table["smiles"]).astype(object)


def _embed(
    layout: pd.DataFrame, effect: np.ndarray, config: SimulationConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Observed and expected embedding of each well (equations 6 and 7), both [wells, d] float32."""
    width = config.n_features
    encoder = stream(config.biology_seed, "encoder")
    mean = config.sd_mean * encoder.standard_normal(width)
    scale = np.exp(config.sd_scale * encoder.standard_normal(width))
    modes = encoder.standard_normal((config.noise_modes, width))
    modes *= config.noise_mode / np.linalg.norm(modes, axis=1, keepdims=True)
    edge = encoder.standard_normal(width)
    edge *= config.amplitude_edge / np.linalg.norm(edge)

    observed = np.empty((len(layout), width), np.float32)
    expected = np.empty_like(observed)
    for experiment, wells in layout.groupby("experiment"):
        rng = stream(config.seed, "experiment", experiment)
        shift = config.sd_experiment * rng.standard_normal(width)
        gain = np.exp(config.sd_gain * rng.standard_normal(width))
        plate_of_well = wells["plate_index"].to_numpy()
        plate = config.sd_plate * rng.standard_normal((plate_of_well.max() + 1, width))
        noise = config.sd_noise * rng.standard_normal((len(wells), width))
        noise += rng.standard_normal((len(wells), config.noise_modes)) @ modes
        treated = effect[wells["molecule"], wells["dose"]]
        nuisance = plate[plate_of_well] + wells["on_edge"].to_numpy()[:, None] * edge
        rows = wells.index.to_numpy()
        expected[rows] = scale * (mean + gain * treated + shift)
        observed[rows] = scale * (mean + gain * (treated + nuisance + noise) + shift)
    return observed, expected


def _write(layout: pd.DataFrame, embedding: np.ndarray, path: pathlib.Path) -> None:
    columns = ["plate", "well", "batch", "smiles", "concentration_um", "is_control"]
    table = pa.Table.from_pandas(layout[columns], preserve_index=False)
    offsets = np.arange(len(embedding) + 1, dtype=np.int32) * embedding.shape[1]
    lists = pa.ListArray.from_arrays(offsets, embedding.reshape(-1))
    pq.write_table(table.append_column("embedding", lists), path, compression="zstd")
