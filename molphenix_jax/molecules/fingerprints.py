"""Feature blocks of a molecule by name: fingerprints as bits, physico-chemical descriptors as floats.

The paper's molecule input without MolGPS is RDKit, MACCS and Morgan (radius 3) bits side by side; its
best is these beside MolGPS (SPEC sections 4 and 10, tables 18 and 21). Lengths are not given there;
the customary ones are taken.
"""

import functools
import math
from collections.abc import Callable, Sequence

import datamol as dm
import numpy as np
import rdkit
from jaxtyping import Float32, UInt8
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator

from molphenix_jax.molecules.parallel import map_distinct

# Features change with the library that computes them: whoever stores features stores this beside them.
FEATURISER_VERSION = f"1+rdkit{rdkit.__version__}+datamol{dm.__version__}"

# Every RDKit 2D descriptor but these. Ipc exceeds float32 for larger molecules; the others cost a
# third of the time of all and are functions of what the rest already holds.
_LEFT_OUT = frozenset({"Ipc", "AvgIpc", "BertzCT", "SPS", "qed"})
_DESCRIPTORS: dict[str, Callable[[Chem.Mol], float]] = {
    # Unforced, the four E-state extremes share one computation, which is otherwise a third of the time.
    name: functools.partial(function, force=False) if name.endswith("EStateIndex") else function
    for name, function in Descriptors.descList
    if name not in _LEFT_OUT
}

_Vector = Callable[[Chem.Mol], np.ndarray]


def _morgan(*, radius: int, n_bits: int) -> _Vector:
    return rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=n_bits
    ).GetFingerprintAsNumPy


def _rdkit(*, n_bits: int) -> _Vector:
    return rdFingerprintGenerator.GetRDKitFPGenerator(fpSize=n_bits).GetFingerprintAsNumPy


def _maccs(mol: Chem.Mol) -> np.ndarray:
    return dm.to_fp(mol, fp_type="maccs")  # pyright: ignore[reportReturnType]


def _physchem(mol: Chem.Mol) -> np.ndarray:
    values = np.array([function(mol) for function in _DESCRIPTORS.values()], np.float64)
    # Undefined for this molecule (partial charges of a metal complex, say): 0, the neutral value of
    # a charge and of a count. Nothing else may be infinite: it would outweigh every other molecule.
    return np.where(np.isfinite(values), values, 0.0)


# Block name to what builds its function; building is left to the process that computes.
_BLOCKS: dict[str, Callable[[], _Vector]] = {
    "morgan": functools.partial(_morgan, radius=3, n_bits=2048),
    "maccs": lambda: _maccs,
    "rdkit": functools.partial(_rdkit, n_bits=2048),
    "physchem": lambda: _physchem,
    # Radius 2 is what clusters and neighbour searches customarily use; not a block of the model.
    "_morgan_r2": functools.partial(_morgan, radius=2, n_bits=2048),
}

FINGERPRINTS = tuple(name for name in _BLOCKS if not name.startswith("_"))


def featurise(
    smiles: Sequence[str], block: str
) -> UInt8[np.ndarray, "n k"] | Float32[np.ndarray, "n k"]:
    """One feature block of each molecule.

    Args:
        smiles: n standardised SMILES.
        block: `morgan` (radius 3, 2048 bits), `maccs` (167 bits, the first never set), `rdkit` (paths
            of up to 7 bonds, 2048 bits) or `physchem` (RDKit 2D descriptors in their own units, which
            span orders of magnitude: scale them on the training molecules).

    Returns:
        [n, k], uint8 of 0 and 1 for fingerprints, finite float32 for `physchem`. A molecule's row does
        not depend on the others. Columns are named by `column_names`.

    Raises:
        ValueError: the block is unknown, or a SMILES cannot be read (names row and SMILES).
    """
    if block not in _BLOCKS:
        raise ValueError(
            f"molecule feature block {block!r} is unknown; choose from {', '.join(FINGERPRINTS)}"
        )
    dtype = np.float32 if block == "physchem" else np.uint8
    rows = map_distinct(functools.partial(_featurise_chunk, block=block, dtype=dtype), list(smiles))
    for row, (text, vector) in enumerate(zip(smiles, rows, strict=True)):
        if vector is None:
            raise ValueError(
                f"cannot featurise row {row}: {text!r} is not a valid SMILES; "
                "pass the smiles column of standardise()"
            )
    return np.stack(rows) if rows else np.zeros((0, len(column_names(block))), dtype)


def column_names(block: str) -> list[str]:
    """Names of the columns of `featurise(smiles, block)`, in order."""
    if block == "physchem":
        return list(_DESCRIPTORS)
    if block not in _BLOCKS:
        raise ValueError(
            f"molecule feature block {block!r} is unknown; choose from {', '.join(FINGERPRINTS)}"
        )
    return [f"{block}_{bit}" for bit in range(featurise(["C"], block).shape[1])]


def tanimoto(
    a: UInt8[np.ndarray, "n k"], b: UInt8[np.ndarray, "m k"]
) -> Float32[np.ndarray, "n m"]:
    """Tanimoto similarity |a and b| / |a or b| of bit fingerprints, by one matrix product.

    Counts stay below 2^24, so float32 holds them exactly. Two empty fingerprints have similarity 0,
    as in RDKit.

    Args:
        a: n fingerprints of 0 and 1.
        b: m fingerprints of the same length.

    Returns:
        [n, m] in [0, 1].
    """
    a_float, b_float = a.astype(np.float32), b.astype(np.float32)
    both = a_float @ b_float.T
    either = a_float.sum(1)[:, None] + b_float.sum(1)[None, :] - both
    return both / np.maximum(either, 1.0)


def _featurise_chunk(
    smiles: Sequence[str], *, block: str, dtype: type[np.generic]
) -> list[np.ndarray | None]:
    vector = _BLOCKS[block]()
    with dm.without_rdkit_log():
        mols = [dm.to_mol(text) if isinstance(text, str) else None for text in smiles]
        return [None if mol is None else vector(mol).astype(dtype) for mol in mols]
