"""Wells to queries: corrected by the controls of their own plate, averaged by what they are of.

Any table that `prepare` reads is read here, by the same reader; it may be of one plate, and of
anything: molecules, genes, extracts. Replicates are wells of one molecule (by InChIKey) or of one
name, at one dose, under one condition.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.molecules import standardise
from molphenix_jax.phenomics import activity_within_conditions, aggregate
from molphenix_jax.retrieval.model import Model
from molphenix_jax.tables.columns import WellsError, short
from molphenix_jax.wells.checked import UNKNOWN
from molphenix_jax.wells.conditions.columns import AUTO, condition_groups
from molphenix_jax.wells.conditions.values import Conditions, differing
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.names import AUTO as AUTO_NAME
from molphenix_jax.wells.table import Wells, read_wells

N_STRONGEST = 10  # features of a query that are told
_FEWEST = 2  # controls that a plate is centred on
_OWN_CONTROLS = 24  # of a file, from which on they are the null of its replicates


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the wells of a query are read; fields as of `scan_wells`.

    Attributes:
        columns: Our name of a column → the file's.
        concentration_unit: Of doses that name none.
        conditions: Columns that part wells which are no replicates.
        controls: Which wells are negative controls.
        group_by: Plate or batch; auto takes plates where they are known, unless the model's screen
            was corrected by batch.
        name: The column that names wells, and groups them where it is given; auto finds one.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    concentration_unit: str = ""
    conditions: str = AUTO
    controls: str = AUTO
    group_by: str = AUTO
    name: str = AUTO_NAME


@dataclasses.dataclass(frozen=True, eq=False)
class Queries:
    """Profiles that are looked up; q of them, d corrected features.

    Attributes:
        table: q rows: query (its label, unique), name, smiles (standard, "" where unknown),
            inchikey, concentration_um (NaN where unknown), condition (in words), wells, plates
            (numbers of them), activity_p (NaN where there is no control well).
        profiles: Corrected, averaged.
        levels: For each query its value of each column of conditions.
        features: Rows query, feature, value: what is strongest, in SDs of the controls.
        rejected: Rows of the files that could not be used.
        notes: What was chosen and left out, one sentence each.
    """

    table: pd.DataFrame
    profiles: Float[np.ndarray, "q d"]
    levels: tuple[Mapping[str, str], ...]
    features: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...]


def read_queries(sources: Sources, model: Model, reading: Reading) -> Queries:
    """Reads wells, corrects and averages them.

    Raises:
        WellsError: The files cannot be read, have other features than the model, no treated well,
            or a plate without controls; it names file, row, field and remedy.
        ModelError: The model takes images.
    """
    model.need_profiles()
    trained = model.about["screen"].get("parameters", {}).get("group_by", AUTO)
    group_by = reading.group_by if (reading.group_by, trained) != (AUTO, "batch") else trained
    wells = _read(sources, model, reading, group_by)
    notes = list(wells.notes)
    group = _groups(wells, group_by, notes)
    is_control = wells.table["is_control"].to_numpy(bool)
    _need_controls(wells, group, model)
    x = np.asarray(wells.embedding)
    pool = wells.table["condition"].to_numpy(np.int64)
    corrected, more = model.correct_within(x, group, is_control, pool)
    notes += more
    treated = np.flatnonzero(~is_control)
    of_well, table = _perturbations(wells, treated, by_name=reading.name != AUTO_NAME, notes=notes)
    condition = pool[treated][table.pop("first").to_numpy()]
    levels = tuple(wells.conditions.told(c) for c in condition)
    own, own_condition = corrected[is_control], pool[is_control]

    def controls_of(c: int) -> np.ndarray:
        """Of the file; of the model's screen where the file has few of a condition."""
        null = own[own_condition == c]
        return null if len(null) >= _OWN_CONTROLS else null_wells(model, wells.conditions.told(c))

    table["activity_p"] = activity_within_conditions(
        corrected[treated], of_well, condition, controls_of
    )
    z = _in_sds(x, group, is_control)[treated]
    return Queries(
        table=table,
        profiles=aggregate(corrected[treated], of_well, len(table)),
        levels=levels,
        features=_strongest(z, of_well, table["query"].to_numpy(object), model.feature_names),
        rejected=wells.rejected,
        notes=tuple(notes),
    )


def _read(sources: Sources, model: Model, reading: Reading, group_by: str) -> Wells:
    names = model.feature_names
    wells = read_wells(
        sources,
        columns=reading.columns,
        check_smiles=None,
        group_by=group_by,
        concentration_unit=reading.concentration_unit,
        feature_names=names,
        conditions=reading.conditions,
        controls=reading.controls,
        named_by=reading.name,
    )
    whole = names == tuple(f"feature_{j}" for j in range(len(names)))
    if wells.plan.width and whole and wells.plan.width != len(names):
        raise WellsError(
            f"{wells.path}: column {wells.plan.columns[0]!r} holds lists of {wells.plan.width} "
            f"numbers, the model takes {len(names)}: give features as those of its training screen"
        )
    return wells


def _groups(wells: Wells, group_by: str, notes: list[str]) -> np.ndarray:
    """What each well is corrected within: its plate, unless batches are asked for."""
    plate = wells.table["plate"].to_numpy(str)
    if wells.group_by == "plate" or group_by == "batch" or (plate == UNKNOWN).any():
        return wells.table["group"].to_numpy(str)
    notes.append("correction groups by plate after all: each query by the controls of its own")
    return condition_groups(wells.conditions, wells.table["condition"].to_numpy(np.int64), plate)


def _need_controls(wells: Wells, group: np.ndarray, model: Model) -> None:
    """Stops at a plate that has treated wells and not enough controls.

    A model whose screen had no controls was corrected by all wells, and so are its queries.
    """
    is_control = wells.table["is_control"].to_numpy(bool)
    if not model.needs_controls or (not is_control.any() and not len(model.null_profiles)):
        return
    code, names = pd.factorize(group.astype(object))
    n = np.bincount(code[is_control], minlength=len(names))
    lacking = (n[code] < _FEWEST) & ~is_control
    if not lacking.any():
        return
    first = int(np.flatnonzero(lacking)[0])
    bad = [str(names[i]) for i in np.unique(code[lacking])]
    by_plate = wells.group_by == "plate" or len(names) > 1
    what = "plate" if by_plate else wells.group_by
    raise WellsError(
        f"{wells.path}: {what} {names[code[first]]!r} (row {wells.table['row'].iloc[first]}) has "
        f"{n[code[first]]} control wells, at least {_FEWEST} are needed to correct it"
        + (f"; so {len(bad)} in all: {short(bad, 5)}" if len(bad) > 1 else "")
        + ". Say which wells are controls with --controls=COLUMN=VALUE (controls= in Python), "
        + ("correct within batches with --group_by=batch, " if by_plate else "")
        + "or leave these wells out"
    )


def _perturbations(
    wells: Wells, treated: Int[np.ndarray, " t"], *, by_name: bool, notes: list[str]
) -> tuple[Int[np.ndarray, " t"], pd.DataFrame]:
    """The query of each treated well, and the queries; `first` is the first well of each."""
    table = wells.table.iloc[treated].reset_index(drop=True)
    smiles = table["smiles"].to_numpy(str)
    texts = [text for text in pd.unique(smiles) if text]
    forms = standardise(texts).assign(given=texts).set_index("given")
    bad = forms["error"].notna().to_numpy()
    readable = forms.loc[~bad]
    if bad.any():
        notes.append(
            f"{int(bad.sum())} SMILES cannot be read ({short(forms.index[bad].tolist(), 5)}): "
            "their wells are looked up like others, by what is written there"
        )
    standard = {text: (row["smiles"], row["inchikey"]) for text, row in readable.iterrows()}
    parent = np.array([standard.get(text, ("", ""))[0] for text in smiles], object)
    inchikey = np.array([standard.get(text, ("", ""))[1] for text in smiles], object)
    named = table["name"].to_numpy(str)
    place = table["plate"].to_numpy(str) + " " + table["well"].to_numpy(str)
    name = np.where(named != "", named, np.where(parent != "", parent, smiles))
    if (nameless := name == "").any():
        notes.append(
            f"{int(nameless.sum())} wells have neither name nor SMILES: each is a query of its own"
        )
        number = np.array([f" row {row}" for row in table["row"]], object)
        name = np.where(nameless, place + number, name).astype(object)
    what = name if by_name else np.where(inchikey != "", inchikey, name)
    dose = table["concentration_um"].to_numpy(np.float64)
    digits = np.array([f"{value:.3g}" if value == value else "" for value in dose], object)
    condition = table["condition"].to_numpy(np.int64)
    keys = pd.MultiIndex.from_arrays([what, digits, condition])
    of_well, _ = pd.factorize(keys)
    first = np.unique(of_well, return_index=True)[1]
    labels = wells.conditions.labels if len(wells.conditions) > 1 else [""]
    found = pd.DataFrame(
        {
            "query": "",
            "name": name[first],
            "smiles": parent[first],
            "inchikey": inchikey[first],
            "concentration_um": [float(text) if text else np.nan for text in digits[first]],
            "condition": [labels[c] if len(labels) > 1 else "" for c in condition[first]],
            "wells": np.bincount(of_well),
            "plates": table.groupby(of_well)["plate"].nunique().to_numpy(),
            "first": first,
        }
    )
    found["query"] = _labels(found)
    return of_well, found


def _labels(table: pd.DataFrame) -> list[str]:
    """A label for each query: name, dose and condition, each where it tells something."""
    labels: dict[str, None] = {}
    told = (table[column].tolist() for column in ("name", "concentration_um", "condition"))
    for name, dose, condition in zip(*told, strict=True):
        dosed = [f"{dose:.3g} µM"] if dose == dose else []
        parts = [str(name), *dosed, *filter(None, [condition])]
        label = number = " @ ".join(parts)
        i = 1
        while number in labels:  # another molecule of the same name
            i += 1
            number = f"{label} #{i}"
        labels[number] = None
    return list(labels)


def null_wells(model: Model, levels: Mapping[str, Any]) -> Float[np.ndarray, "c d"]:
    """Control wells of the model's screen under a condition; all where it knows none such."""
    null = model.null
    told = model.about["screen"].get("conditions")
    if not told:
        return null.profile
    trained = Conditions.of_json(told)
    same = [not differing(trained.told(c), levels) for c in range(len(trained))]
    rows = np.array(same, bool)[null.condition] if len(null.profile) else np.zeros(0, bool)
    return null.profile[rows] if rows.sum() >= _FEWEST else null.profile


def _in_sds(
    x: Float[np.ndarray, "n d"], group: np.ndarray, is_control: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """Raw features in standard deviations of the controls of the own group, or of all wells."""
    known = is_control if is_control.any() else np.ones(len(x), bool)
    z = x.astype(np.float64)
    code, names = pd.factorize(group)
    for i in range(len(names)):
        rows = code == i
        some = rows & known if (rows & known).any() else known
        z[rows] -= x[some].mean(axis=0)
    spread = z[known].std(axis=0)
    return z / np.where(spread > 0, spread, np.inf)


def _strongest(
    z: Float[np.ndarray, "t d"],
    of_well: Int[np.ndarray, " t"],
    labels: np.ndarray,
    names: tuple[str, ...],
) -> pd.DataFrame:
    mean = aggregate(z, of_well, len(labels))
    k = min(N_STRONGEST, mean.shape[1])
    order = np.argsort(-np.abs(mean), axis=1, kind="stable")[:, :k]
    return pd.DataFrame(
        {
            "query": np.repeat(labels, k),
            "feature": np.array(names, object)[order].ravel(),
            "value": np.take_along_axis(mean, order, axis=1).ravel(),
        }
    )
