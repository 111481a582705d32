"""Treated wells to perturbations: molecules by InChIKey, doses to three digits, conditions."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from molphenix_jax.molecules import describe_changes, standardise
from molphenix_jax.wells.conditions.values import Conditions


class StandardForms:
    """Standardises each SMILES once: why it cannot be used, and its form where it can."""

    def __init__(self):
        self.table = standardise([]).assign(given=[])

    def check(self, smiles: Sequence[str]) -> list[str | None]:
        """The reason against each, None where there is none."""
        self.table = standardise(smiles).assign(given=list(smiles))
        return self.table["error"].tolist()

    @property
    def notes(self) -> list[str]:
        """What was left out of the structures, and which became one."""
        return describe_changes(self.table)


@dataclasses.dataclass(frozen=True, eq=False)
class Grouping:
    """The perturbations of n treated wells.

    Attributes:
        molecules: columns smiles, inchikey, scaffold, in the order of the wells.
        order: wells sorted by (molecule, dose, condition), [n].
        offsets: where each perturbation starts in `order`, and the end, [p + 1].
        molecule: of each perturbation, [p].
        concentration_um: of each perturbation in µM, [p].
        condition: number in `conditions` of each perturbation's, [p].
        conditions: those that treated wells have.
    """

    molecules: pd.DataFrame
    order: Int[np.ndarray, " n"]
    offsets: Int[np.ndarray, " bounds"]
    molecule: Int[np.ndarray, " p"]
    concentration_um: Float[np.ndarray, " p"]
    condition: Int[np.ndarray, " p"]
    conditions: Conditions


def group_wells(treated: pd.DataFrame, conditions: Conditions, forms: pd.DataFrame) -> Grouping:
    """Groups treated wells.

    Args:
        treated: rows of `Wells.table`.
        conditions: of all wells.
        forms: standard forms of their SMILES, from `StandardForms`.
    """
    molecules, of_well = _molecules(pd.Categorical(treated["smiles"]), forms)
    dose = _three_digits(treated["concentration_um"].to_numpy(np.float64))
    found, condition = conditions.kept(treated["condition"].to_numpy(np.int64))
    order, offsets = _perturbations(of_well, dose, condition)
    first = order[offsets[:-1]]
    return Grouping(molecules, order, offsets, of_well[first], dose[first], condition[first], found)


def _molecules(
    smiles: pd.Categorical, forms: pd.DataFrame
) -> tuple[pd.DataFrame, Int[np.ndarray, " n"]]:
    """Unique molecules by InChIKey in the order of the wells, and the molecule of each well."""
    first = pd.unique(smiles.codes)
    table = forms.set_index("given").loc[smiles.categories[first]]
    number, _ = pd.factorize(table["inchikey"])
    of_code = np.zeros(len(smiles.categories), np.int64)
    of_code[first] = number
    molecules = table.drop_duplicates("inchikey").filter(["smiles", "inchikey", "scaffold"])
    return molecules.reset_index(drop=True), of_code[smiles.codes]


def _three_digits(concentration_um: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Rounds to three significant digits, so that 0.1 and 0.1000001 µM are one dose."""
    exponent = np.floor(np.log10(concentration_um))
    unit = 10.0 ** (exponent - 2)
    return np.round(concentration_um / unit) * unit


def _perturbations(
    molecule: Int[np.ndarray, " n"],
    dose: Float[np.ndarray, " n"],
    condition: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " bounds"]]:
    """Sorts wells by (molecule, dose, condition): order, and where each perturbation starts."""
    same_dose = np.unique(dose)
    level = np.cumsum(np.r_[0, np.diff(same_dose) > 1e-9 * same_dose[1:]])
    keys = np.stack([molecule, level[np.searchsorted(same_dose, dose)], condition])
    order = np.lexsort(keys[::-1])
    starts = np.flatnonzero(np.r_[True, (np.diff(keys[:, order]) != 0).any(axis=0)])
    return order, np.r_[starts, len(order)]
