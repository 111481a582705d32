"""Which wells are negative controls, and how that was told."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Bool

from molphenix_jax.data.preparation import columns as names
from molphenix_jax.data.preparation.checked import CheckedRows
from molphenix_jax.data.preparation.doses import Doses

_DMSO = frozenset(
    ("CS(=O)C", "CS(C)=O", "O=S(C)C", "C[S+](C)[O-]", "C[S+]([O-])C", "[O-][S+](C)C", "DMSO")
)
_CONTROL = frozenset(
    ("true", "t", "1", "yes", "y", "control", "negcon", "negative_control", "dmso", "vehicle")
    + ("empty_control", "ctl_vehicle")
)
_TREATED = frozenset(
    ("false", "f", "0", "no", "n", "", "trt", "trt_cp", "treated", "treatment", "compound")
    + ("poscon", "positive_control")
)
# Columns that tell controls where there is no is_control, best first, with the values that mean it.
# JUMP calls positive controls `control` in pert_type too: control_type is the finer of the two.
_CONTROL_COLUMNS = (
    ("controltype", ("negcon", "negative_control")),
    ("perttype", ("control", "negcon", "ctl_vehicle")),
    ("treatment", ("empty_control", "dmso")),
    ("pertiname", ("dmso",)),
    ("broadsample", ("dmso",)),
    ("compoundname", ("dmso",)),
)


def find_controls(
    rows: CheckedRows, smiles: np.ndarray, doses: Doses
) -> tuple[Bool[np.ndarray, "n"], str]:
    """Which wells are controls, and how that was told."""
    if name := rows.found.get("is_control"):
        given = rows.text("is_control")
        label = np.array([text.lower().removesuffix(".0") for text in given], object)
        is_control = _among(label, _CONTROL)
        unclear = ~is_control & ~_among(label, _TREATED)
        rows.reject(unclear, "is_control", given, "neither true nor false")
        return is_control, f"controls: column {name!r}"
    by_normal = {names.normal(name): name for name in rows.raw.table.column_names}
    for normal, values in _CONTROL_COLUMNS:
        if normal in by_normal:
            given = names.as_text(rows.raw.table.column(by_normal[normal]))
            is_control = _among(np.array([text.lower() for text in given], object), values)
            if is_control.any():
                return is_control, f"controls: {by_normal[normal]!r} is {' or '.join(values)}"
    untreated = (smiles == "") & (np.isnan(doses.um) | (doses.um == 0)) & (doses.reason == "")
    if not doses.column:
        untreated[:] = False  # an empty SMILES alone says nothing
    return _among(smiles, _DMSO) | untreated, (
        "controls: no control column, so wells with DMSO, or with neither SMILES nor dose"
    )


def _among(values: np.ndarray, wanted: Collection[str]) -> Bool[np.ndarray, "n"]:
    return np.array([value in wanted for value in values], bool)
