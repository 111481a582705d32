"""Who is trained on and who is asked about (docs/method.md §5, §13 and §14 rows 15 to 22).

Molecules are kept together with their analogues: by Bemis–Murcko scaffold or Butina cluster, and
always with their stereoisomers (first InChIKey block), so that an unseen molecule is really unseen.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import cluster_butina, nearest_by_tanimoto
from molphenix_jax.screens.screen import Screen, unpacked_rows
from molphenix_jax.screens.split_lists import TEST, VALIDATION
from molphenix_jax.storage import read_csv

# Relative tolerance of a held-out concentration.
SAME_DOSE = 0.05

# Unseen molecules whose nearest training molecules are looked up for the report, at most, and
# training molecules compared at once.
LEAKAGE_MOLECULES = 2_000
LEAKAGE_CHUNK = 50_000

# The first part validates unless it holds so many times its share.
MOST_VALIDATION = 2.5

SPLITS_FILE = "splits.csv"  # of a run, see `split_table`


Method = Literal["scaffold", "butina", "plate", "batch"]


class SplitError(InputError):
    """A screen is too small or too uniform for the split that the config asks for."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Perturbation ids of one fold, and which replicate wells training may see.

    Attributes:
        train: Perturbations of the training molecules, at training doses.
        validation: Perturbations of molecules carved from the training molecules; choose on these.
        test: Perturbations of unseen molecules.
        unseen_images: Training perturbations some of whose wells are withheld.
        withheld: True for the replicate wells that training does not see though it sees their
            perturbation.
        heldout: Held-out concentration in µM → every perturbation at that dose.
    """

    train: Int[np.ndarray, " a"]
    validation: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]
    unseen_images: Int[np.ndarray, " e"]
    withheld: Bool[np.ndarray, " n"]
    heldout: dict[float, Int[np.ndarray, " h"]]


def molecule_groups(
    molecules: pd.DataFrame, *, method: Literal["scaffold", "butina"], butina_cutoff: float
) -> Int[np.ndarray, " m"]:
    """Group id of each molecule; a group never straddles two sides of a split.

    Args:
        molecules: Columns smiles, inchikey, scaffold. A molecule without a scaffold (no ring) is
            grouped with its stereoisomers alone.
        method: Groups by Bemis–Murcko scaffold or by Butina cluster.
        butina_cutoff: Tanimoto similarity at which molecules join a Butina cluster.
    """
    n = len(molecules)
    skeleton = molecules["inchikey"].str[:14].to_numpy()
    if method == "butina":
        first = cluster_butina(molecules["smiles"].tolist(), cutoff=butina_cutoff).astype(str)
    else:
        scaffold = molecules["scaffold"].fillna("").to_numpy()
        first = np.where(scaffold == "", skeleton, scaffold)
    everyone = np.arange(n)
    return _joined(n, [(everyone, first), (everyone, skeleton)])


def _joined(
    n: int, shared: Sequence[tuple[Int[np.ndarray, " _"], Shaped[np.ndarray, " _"]]]
) -> Int[np.ndarray, " n"]:
    """Group of each of n molecules: those that have a label in common, of any kind, are in one.

    Args:
        n: Number of molecules.
        shared: Molecules, and a label of each, of one kind after the other.
    """
    # Molecules and labels form a graph; its components are the groups.
    rows, columns, size = [], [], n
    for molecule, label in shared:
        code = np.unique(label, return_inverse=True)[1]
        rows.append(molecule)
        columns.append(size + code)
        size += int(code.max(initial=-1)) + 1
    links = (np.concatenate(rows), np.concatenate(columns))
    graph = coo_array((np.ones(len(links[0])), links), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n]


def groups_across(
    screens: Sequence[Screen], *, method: Method, butina_cutoff: float
) -> list[Int[np.ndarray, " _"]]:
    """`molecule_groups` of several screens together: group of each molecule of each screen.

    By plate or batch, molecules that were measured together on one are in one group, whatever their
    structure: unseen molecules then come from plates that training has not seen.

    Raises:
        SplitError: The wells of a screen name no plate or batch, or all molecules are linked.
    """
    table = pd.concat([screen.molecules for screen in screens], ignore_index=True)
    _, first, row = np.unique(
        table["inchikey"].to_numpy(str), return_index=True, return_inverse=True
    )
    # In their order, so that one screen has the groups that it has alone.
    place = np.argsort(np.argsort(first))
    distinct = table.iloc[np.sort(first)].reset_index(drop=True)
    if method in ("plate", "batch"):
        groups = _measured_together(screens, method, distinct, place[row])[place[row]]
    else:
        groups = molecule_groups(distinct, method=method, butina_cutoff=butina_cutoff)[place[row]]
    return np.split(groups, np.cumsum([len(screen.molecules) for screen in screens])[:-1])


def _measured_together(
    screens: Sequence[Screen], column: str, distinct: pd.DataFrame, rows: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " m"]:
    """Groups of the distinct molecules that share a plate or batch, or all but stereochemistry.

    Args:
        screens: Whose wells tell.
        column: plate or batch.
        distinct: Molecules.
        rows: Of each molecule of each screen in these.
    """
    molecules, labels, start = [], [], 0
    for screen in screens:
        wells = screen.archive.wells
        known = wells[column].notna() & (wells[column].astype(str) != "") if column in wells else []
        if not np.any(known):
            raise SplitError(
                f"data.split={column}: the wells of screen {screen.name} name no {column}; name "
                f"its column (data.columns.{column}), or take scaffold or butina"
            )
        own = rows[start + screen.molecule[screen.perturbation_of_replicate]]
        molecules.append(own[np.asarray(known)])
        labels.append((f"{screen.name}/" + wells.loc[known, column].astype(str)).to_numpy(object))
        start += len(screen.molecules)
    skeleton = distinct["inchikey"].str[:14].to_numpy()
    groups = _joined(
        len(distinct),
        [
            (np.concatenate(molecules), np.concatenate(labels)),
            (np.arange(len(distinct)), skeleton),
        ],
    )
    if len(distinct) > 1 and groups.max() == 0:
        raise SplitError(
            f"data.split={column}: every molecule is linked to all others by what shares a "
            f"{column}, and none can be held back; take scaffold or butina"
        )
    return groups


def fold_of(groups: Int[np.ndarray, " p"], n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each row: whole groups, near-equal sizes, ties broken by the seed.

    Raises:
        SplitError: Fewer groups than folds.
    """
    return folds_of([groups], n_folds, rng)[0]


def folds_of(
    groups: Sequence[Int[np.ndarray, " _"]],
    n_folds: int,
    rng: np.random.Generator,
    names: Sequence[str] = ("",),
) -> list[Int[np.ndarray, " _"]]:
    """Fold of each row of several screens: a group is in the same fold in all of them.

    The groups of the first screen go first, from the largest on, each into the fold that has fewest
    rows (as scikit-learn's GroupKFold does); then those of the next that it lacks.

    Args:
        groups: Group of each row, for each screen.
        n_folds: Number of folds.
        rng: Breaks ties.
        names: Of the screens, for errors.

    Raises:
        SplitError: A screen has fewer groups than there are folds.
    """
    order = rng.permutation(max(rows.max(initial=-1) for rows in groups) + 1)
    fold_of_group = np.full(len(order), -1)
    for rows, name in zip(groups, names, strict=True):
        labels, sizes = np.unique(order[rows], return_counts=True)
        if len(labels) < n_folds:
            of = f"screen {name}: " if name else ""
            raise SplitError(
                f"{of}{len(labels)} groups of molecules that stay together cannot be split into "
                f"{n_folds} parts; lower data.folds, raise data.test_fraction or "
                "data.validation_fraction, or take another data.split: scaffold, butina"
            )
        placed = fold_of_group[labels] >= 0
        load = np.bincount(fold_of_group[labels[placed]], sizes[placed], minlength=n_folds)
        labels, sizes = labels[~placed], sizes[~placed]
        for i in np.argsort(sizes, kind="stable")[::-1]:
            lightest = int(np.argmin(load))
            fold_of_group[labels[i]] = lightest
            load[lightest] += sizes[i]
    return [fold_of_group[order[rows]] for rows in groups]


def make_splits(
    screens: Sequence[Screen],
    groups: Sequence[Int[np.ndarray, " _"]],
    *,
    fold: int,
    n_folds: int,
    test_fraction: float,
    validation_fraction: float,
    unseen_images_fraction: float,
    heldout_concentrations_um: Sequence[float],
    seed: int,
    sides: Sequence[Int[np.ndarray, " _"]] | None = None,
) -> list[Split]:
    """Splits the perturbations of screens by molecule across all of them.

    A molecule, with its analogues, is on one side in all screens: one that is unseen in one of them
    trains nowhere.

    Args:
        screens: Prepared screens; the first is parted as evenly as it would be alone.
        groups: Group of each molecule of each screen, from `groups_across`.
        fold: Which fold is the test fold.
        n_folds: Number of folds; 1 makes a single split with `test_fraction` of the perturbations.
        test_fraction: Used with n_folds=1 only, rounded to one over a whole number.
        validation_fraction: Share of the perturbations that are not test, likewise rounded.
        unseen_images_fraction: Share of the training perturbations with two or more replicates of
            which half of the wells is withheld.
        heldout_concentrations_um: Doses in µM that no training pair has.
        seed: Of every random choice.
        sides: Side of each molecule of each screen by a list (`split_lists`), in place of a test
            fold; validation molecules are drawn where the list names none.

    Raises:
        SplitError: Too few groups, or a held-out dose that no screen has.
    """
    rng = np.random.default_rng(seed)
    heldout = [_heldout(screen, heldout_concentrations_um) for screen in screens]
    for dose in heldout_concentrations_um:
        if not any(len(of[float(dose)]) for of in heldout):
            doses = np.unique(np.concatenate([s.concentration_um for s in screens]))
            grid = ", ".join(f"{d:g}" for d in doses.astype(np.float64)[:20])
            raise SplitError(f"eval.heldout_concentrations: no pair at {dose:g} µM; doses: {grid}")
    ids = []
    for screen, held in zip(screens, heldout, strict=True):
        usable = np.ones(screen.n_perturbations, bool)
        for some in held.values():
            usable[some] = False
        ids.append(np.flatnonzero(usable))

    names = [screen.name if len(screens) > 1 else "" for screen in screens]

    def parted(ids: list[np.ndarray], parts: int) -> list[np.ndarray]:
        """Which of some parts each is in."""
        of_ids = [of[s.molecule[i]] for of, s, i in zip(groups, screens, ids, strict=True)]
        return folds_of(of_ids, parts, rng, names)

    def listed(ids: list[np.ndarray], side: int) -> list[np.ndarray]:
        """True for those on a side of the list."""
        assert sides is not None, "asked before"
        return [of[s.molecule[i]] == side for of, s, i in zip(sides, screens, ids, strict=True)]

    if sides is None:
        parts = parted(ids, n_folds if n_folds > 1 else round(1 / test_fraction))
        is_test = [of == fold for of in parts]
    else:
        is_test = listed(ids, TEST)
    rest = [i[~test] for i, test in zip(ids, is_test, strict=True)]
    if sides is not None and any((of == VALIDATION).any() for of in sides):
        is_validation = listed(rest, VALIDATION)
    else:
        n_parts = round(1 / validation_fraction)
        parts = parted(rest, n_parts)
        validation = _validation_part(parts, n_parts)
        is_validation = [of == validation for of in parts]
    splits = []
    for s, screen in enumerate(screens):
        train = rest[s][~is_validation[s]]
        replicated = train[screen.n_replicates[train] >= 2]
        n_unseen = round(unseen_images_fraction * len(replicated))
        unseen_images = np.sort(rng.choice(replicated, n_unseen, replace=False))
        withheld = np.zeros(screen.n_wells, bool)
        for i in unseen_images:
            wells = np.arange(int(screen.offsets[i]), int(screen.offsets[i + 1]))
            withheld[rng.choice(wells, len(wells) // 2, replace=False)] = True
        splits.append(
            Split(
                train,
                rest[s][is_validation[s]],
                ids[s][is_test[s]],
                unseen_images,
                withheld,
                {dose: some for dose, some in heldout[s].items() if len(some)},
            )
        )
    return splits


def _validation_part(parts: Sequence[Int[np.ndarray, " _"]], n_parts: int) -> int:
    """Which part validates: the first, or the one nearest to its share where that is far too large.

    The largest group is in the first part. On a screen one cluster of which has a third of all
    pairs, and nearly all of the doses, nothing would be left to learn from.

    Args:
        parts: Of each row of each screen.
        n_parts: How many there are.
    """
    shares = np.array([np.bincount(of, minlength=n_parts) / max(len(of), 1) for of in parts])
    worst = np.abs(np.log(np.maximum(shares * n_parts, 1e-9))).max(axis=0)
    return 0 if shares[:, 0].max() * n_parts <= MOST_VALIDATION else int(np.argmin(worst))


def _heldout(screen: Screen, concentrations_um: Sequence[float]) -> dict[float, np.ndarray]:
    dose = screen.concentration_um.astype(np.float64)
    return {float(c): np.flatnonzero(np.abs(dose / c - 1) <= SAME_DOSE) for c in concentrations_um}


def whole_split(screen: Screen) -> Split:
    """Every perturbation trains and nothing is held back, for a model that is made to be used."""
    none = np.zeros(0, np.int64)
    withheld = np.zeros(screen.n_wells, bool)
    return Split(np.arange(screen.n_perturbations), none, none, none, withheld, {})


def split_table(screen: Screen, split: Split) -> pd.DataFrame:
    """Molecules of each side: columns inchikey, smiles, split; to be saved and reused elsewhere.

    Where the screen has several conditions there is a row for each that a molecule has, with a
    further column condition.
    """
    sides = {"train": split.train, "validation": split.validation, "unseen_molecules": split.test}
    parts = []
    for name, ids in sides.items():
        pairs = np.unique(np.stack([screen.molecule[ids], screen.condition[ids]]), axis=1)
        rows = screen.molecules.iloc[pairs[0]][["inchikey", "smiles"]].assign(split=name)
        if len(screen.conditions) > 1:
            rows["condition"] = np.array(screen.conditions.labels)[pairs[1]]
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def need_same_split(path: pathlib.Path, table: pd.DataFrame) -> None:
    """Stops where a run that began before would now split its molecules in another way.

    Args:
        path: The run's `splits.csv`, if it has one yet.
        table: What would be written there; columns that it has gained are not looked at.

    Raises:
        SplitError: They differ.
    """
    if not path.exists():
        return
    try:
        kept = read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SplitError(
            f"{path} is damaged, and with it which molecules were held back: train in a new "
            "--workdir"
        ) from error
    if not kept.equals(table.reindex(columns=kept.columns).astype(str)):
        raise SplitError(
            f"the molecules are not split as {path} says, since the data or the program changed: "
            "the model would be tested on molecules that it has seen. Put the old data back, or "
            "train in a new --workdir"
        )


def leakage_report(screen: Screen, split: Split) -> dict[str, float | int]:
    """How close the unseen molecules come to the training molecules (Morgan Tanimoto, r=3).

    The overlaps are 0 by construction; the similarity is what the split could not remove.
    """
    train, test = (np.unique(screen.molecule[ids]) for ids in (split.train, split.test))
    of = lambda column, rows: set(screen.molecules[column].iloc[rows]) - {""}  # noqa: E731
    skeletons = [{key[:14] for key in of("inchikey", rows)} for rows in (train, test)]
    report: dict[str, float | int] = {
        "n_train_molecules": len(train),
        "n_test_molecules": len(test),
        "shared_inchikey_first_blocks": len(skeletons[0] & skeletons[1]),
        "shared_scaffolds": len(of("scaffold", train) & of("scaffold", test)),
    }
    if "morgan" in screen.block_names and len(train) and len(test):
        compared = test
        if len(test) > LEAKAGE_MOLECULES:
            rng = np.random.default_rng(0)
            compared = np.sort(rng.choice(test, LEAKAGE_MOLECULES, replace=False))
            report["n_test_molecules_compared"] = LEAKAGE_MOLECULES
        block = screen.blocks["morgan"]
        bits = unpacked_rows(block, compared)
        starts = range(0, len(train), LEAKAGE_CHUNK)
        nearest, _ = nearest_by_tanimoto(
            bits, (unpacked_rows(block, train[start : start + LEAKAGE_CHUNK]) for start in starts)
        )
        report["median_nearest_train_tanimoto"] = round(float(np.median(nearest)), 4)
        report["max_nearest_train_tanimoto"] = round(float(nearest.max()), 4)
    return report
