"""Feature blocks of a molecule by name: fingerprints as bits, descriptors as floats.

The paper's molecule input without MolGPS is RDKit, MACCS and Morgan (radius 3) bits side by side;
its best is these beside MolGPS (docs/method.md §4 and §10, tables 18 and 21). Lengths are not given
there; the customary ones are taken.
"""

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import rdkit
from jaxtyping import Float32, Int64, UInt8
from rdkit import Chem, rdBase
from rdkit.Chem import (
    Descriptors,
    rdCIPLabeler,
    rdFingerprintGenerator,
    rdMolDescriptors,
)

from molphenix_jax.molecules.parallel import map_distinct
from molphenix_jax.molecules.standard.reading import parse_all
from molphenix_jax.parts import PartError, Parts, define, of_type, register

# Features change with the library that computes them: store this beside stored features.
# 2: counter-ions by a table, combinations left out, compounds of metals kept whole. datamol, which
# called RDKit for this, is gone without changing a number: its name stays until number 3, so that
# what was prepared and cached with it is still found.
FEATURISER_VERSION = f"2+rdkit{rdkit.__version__}+datamol0.13.0"

# Every RDKit 2D descriptor but these. Ipc exceeds float32 for larger molecules; the others cost a
# third of the time of all and are functions of what the rest already holds.
_LEFT_OUT = frozenset({"Ipc", "AvgIpc", "BertzCT", "SPS", "qed"})
_DESCRIPTORS: dict[str, Callable[[Chem.Mol], float]] = {
    # Unforced, the four E-state extremes share one computation, otherwise a third of the time.
    name: functools.partial(function, force=False) if name.endswith("EStateIndex") else function
    for name, function in Descriptors.descList
    if name not in _LEFT_OUT
}

_CIP_ITERATIONS = 1_250_000  # about a second

_Vector = Callable[[Chem.Mol], np.ndarray]


class _Bits(NamedTuple):
    """A fingerprint: its length, and what builds its function in the process that computes."""

    n_bits: int
    build: Callable[[], _Vector]


def _morgan(radius: int) -> _Vector:
    return rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=2048
    ).GetFingerprintAsNumPy


def _morgan_chiral() -> _Vector:
    """Morgan bits whose atoms carry their stereo.

    RDKit's own `includeChirality` knows no sulfoxides and no cis and trans on rings, so the labels
    of Hanson et al. (J. Chem. Inf. Model. 2018, 58, 1755) go into the atoms' invariants.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)

    def vector(mol: Chem.Mol) -> np.ndarray:
        invariants = _stereo_invariants(mol)
        return generator.GetFingerprintAsNumPy(mol, customAtomInvariants=invariants)

    return vector


def _stereo_invariants(mol: Chem.Mol) -> list[int]:
    """Morgan's invariant of each atom, another one for each label of the atom or of its bonds."""
    mol = Chem.Mol(mol)
    with contextlib.suppress(RuntimeError):  # too symmetrical: the labels that reading gave stay
        rdCIPLabeler.AssignCIPLabels(mol, maxRecursiveIterations=_CIP_ITERATIONS)
    invariants = list(rdMolDescriptors.GetConnectivityInvariants(mol))
    labels = [(a.GetIdx(), a) for a in mol.GetAtoms()]
    labels += [(i, b) for b in mol.GetBonds() for i in (b.GetBeginAtomIdx(), b.GetEndAtomIdx())]
    for i, holder in labels:
        if holder.HasProp("_CIPCode"):
            # Sums, since the bonds of an atom have no order.
            code = zlib.crc32(holder.GetProp("_CIPCode").encode())
            invariants[i] = (invariants[i] + code) % 2**32
    return invariants


def _rdkit() -> _Vector:
    return rdFingerprintGenerator.GetRDKitFPGenerator(fpSize=2048).GetFingerprintAsNumPy


def _maccs() -> _Vector:
    def vector(mol: Chem.Mol) -> np.ndarray:
        # By its text: four times as fast as RDKit's conversion to an array.
        text = rdMolDescriptors.GetMACCSKeysFingerprint(mol).ToBitString()
        return np.frombuffer(text.encode(), np.uint8) - ord("0")

    return vector


def _describe(mol: Chem.Mol, *, names: Sequence[str]) -> np.ndarray:
    values = np.array([_DESCRIPTORS[name](mol) for name in names], np.float64)
    # Undefined for this molecule (partial charges of a metal complex, say): 0, the neutral value of
    # a charge and of a count. Nothing else may be infinite: it would outweigh every other molecule.
    return np.where(np.isfinite(values), values, 0.0)


_BITS = {
    "morgan": _Bits(2048, functools.partial(_morgan, 3)),
    "morgan_chiral": _Bits(2048, _morgan_chiral),
    "maccs": _Bits(167, _maccs),
    "rdkit": _Bits(2048, _rdkit),
    # Radius 2 is what clusters and neighbour searches customarily use; not a block of the model.
    "morgan_r2": _Bits(2048, functools.partial(_morgan, 2)),
}


@dataclasses.dataclass(frozen=True)
class MoleculeEncoderSpec:
    """A feature block as a function; with a network, an encoder that is trained with the heads.

    Attributes:
        encode: n standardised SMILES to [n, width] finite numbers; a row depends on its own
            molecule alone.
        width: Columns.
        bits: Whether `encode` gives 0 and 1 as uint8, which are stored packed.
        version: Raised when the same molecules would get other numbers; "" of the blocks here,
            whose version is `FEATURISER_VERSION`. A function where weights in a file decide it.
        network: Makes the Flax module that reads the numbers of `encode` (atoms or tokens as codes,
            say) as float32 [n, width], called with `train=`, and gives [n, k]. The contrastive loss
            trains it; None of blocks that are taken as they are.
    """

    encode: Callable[[Sequence[str]], Any]
    width: int
    bits: bool = False
    version: str | Callable[[], str] = "1"
    network: Callable[[], Any] | None = None


FINGERPRINTS: Parts[MoleculeEncoderSpec] = define("molecule_encoder", of_type(MoleculeEncoderSpec))


def trained_encoders() -> tuple[str, ...]:
    """Names of the registered encoders that are trained with the heads."""
    return tuple(name for name, spec in FINGERPRINTS.items() if spec.network is not None)


def is_embedding(block: str) -> bool:
    """Whether a block, of a file too, is no bits, no descriptors and no codes for a network."""
    spec = FINGERPRINTS.get(block)
    return spec is None or not (spec.bits or spec.network is not None or block == "physchem")


def encoder_versions(blocks: Sequence[str]) -> dict[str, str]:
    """The versions of those blocks that come from outside."""
    given = {name: FINGERPRINTS[name].version for name in blocks if name in FINGERPRINTS}
    versions = {name: v if isinstance(v, str) else v() for name, v in given.items()}
    return {name: version for name, version in versions.items() if version}


def featurise(
    smiles: Sequence[str], block: str
) -> UInt8[np.ndarray, "n k"] | Float32[np.ndarray, "n k"]:
    """One feature block of each molecule.

    Args:
        smiles: n standardised SMILES.
        block: `morgan` (radius 3, 2048 bits), `maccs` (167 bits, the first never set), `rdkit`
            (paths of up to 7 bonds, 2048 bits), `physchem` (RDKit 2D descriptors in their own
            units, which span orders of magnitude: scale them on the training molecules) or
            `morgan_chiral` (morgan with R and S, E and Z, cis and trans told apart; the others
            give stereoisomers equal rows); or a registered one.

    Returns:
        [n, k], uint8 of 0 and 1 for fingerprints, finite float32 for `physchem`. A molecule's row
        does not depend on the others. Columns are named by `column_names`.

    Raises:
        ValueError: the block is unknown, or a SMILES cannot be read (names row and SMILES).
        PartError: a registered encoder gives something else than it says.
    """
    if block == "physchem":
        return descriptors(smiles, names=tuple(_DESCRIPTORS))
    if block not in _BITS and block in FINGERPRINTS:
        return _encoded(smiles, block)
    rows = map_distinct(functools.partial(_bits_chunk, block=_known(block)), list(smiles))
    return _stack(smiles, rows, len(column_names(block)), np.uint8)


def featurise_blocks(smiles: Sequence[str], blocks: Sequence[str]) -> dict[str, np.ndarray]:
    """Several feature blocks, each as `featurise` gives it; a molecule is read once for all.

    Raises:
        ValueError: as `featurise`.
        PartError: as `featurise`.
    """
    own = tuple(block for block in blocks if block in _BITS or block == "physchem")
    found = {block: featurise(smiles, block) for block in blocks if block not in own}
    rows = map_distinct(functools.partial(_blocks_chunk, blocks=own), list(smiles)) if own else []
    for number, block in enumerate(own):
        vectors = [None if row is None else row[number] for row in rows]
        dtype = np.uint8 if block in _BITS else np.float32
        found[block] = _stack(smiles, vectors, len(column_names(block)), dtype)
    return found


def descriptors(smiles: Sequence[str], *, names: Sequence[str]) -> Float32[np.ndarray, "n k"]:
    """Some columns of the `physchem` block, without computing the others.

    Args:
        smiles: n standardised SMILES.
        names: RDKit's names, `MolLogP` for instance.

    Returns:
        [n, k] finite float32, columns in the order of `names`.

    Raises:
        ValueError: a name is unknown, or a SMILES cannot be read (names row and SMILES).
    """
    unknown = [name for name in names if name not in _DESCRIPTORS]
    if unknown:
        raise ValueError(f"no RDKit descriptors of the physchem block: {', '.join(unknown)}")
    rows = map_distinct(functools.partial(_descriptors_chunk, names=tuple(names)), list(smiles))
    return _stack(smiles, rows, len(names), np.float32)


def column_names(block: str) -> list[str]:
    """Names of the columns of `featurise(smiles, block)`, in order."""
    if block == "physchem":
        return list(_DESCRIPTORS)
    if block not in _BITS and block in FINGERPRINTS:
        return [f"{block}_{column}" for column in range(FINGERPRINTS[block].width)]
    return [f"{block}_{bit}" for bit in range(_BITS[_known(block)].n_bits)]


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


def nearest_by_tanimoto(
    bits: UInt8[np.ndarray, "n k"], others: Iterable[UInt8[np.ndarray, "_ k"]]
) -> tuple[Float32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The most similar of others for each fingerprint, the first of equal ones.

    Args:
        bits: of n molecules.
        others: in blocks, so that memory is that of one.

    Returns:
        Its similarity and its number among all others; 0 and 0 where there are none.
    """
    best, at, start = np.zeros(len(bits), np.float32), np.zeros(len(bits), np.int64), 0
    for block in others:
        similar = tanimoto(bits, block)
        column = similar.argmax(axis=1)
        value = similar[np.arange(len(bits)), column]
        at = np.where(value > best, start + column, at)
        best, start = np.maximum(best, value), start + len(block)
    return best, at


def _encoded(smiles: Sequence[str], block: str) -> np.ndarray:
    """What a registered encoder gives, checked."""
    spec = FINGERPRINTS[block]
    values = np.asarray(spec.encode(list(smiles)))
    if values.shape != (len(smiles), spec.width):
        raise PartError(
            f"molecule_encoder {block!r} gives {list(values.shape)} for {len(smiles)} molecules; "
            f"it has to give {[len(smiles), spec.width]}"
        )
    if spec.bits:
        if values.dtype != np.uint8 or (values > 1).any():
            raise PartError(f"molecule_encoder {block!r} says bits: it has to give uint8 of 0, 1")
        return values
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise PartError(f"molecule_encoder {block!r} gives no finite numbers for {smiles[row]!r}")
    return values


def _known(block: str) -> str:
    if block not in _BITS:
        raise ValueError(
            f"molecule feature block {block!r} is unknown; choose from {', '.join(FINGERPRINTS)}"
        )
    return block


def _bits_chunk(smiles: Sequence[str], *, block: str) -> list[np.ndarray | None]:
    return _apply(_BITS[block].build(), smiles)


def _blocks_chunk(
    smiles: Sequence[str], *, blocks: Sequence[str]
) -> list[tuple[np.ndarray, ...] | None]:
    describe = functools.partial(_describe, names=tuple(_DESCRIPTORS))
    vectors = [_BITS[block].build() if block in _BITS else describe for block in blocks]
    with rdBase.BlockLogs():
        mols = parse_all(smiles)
        return [None if mol is None else tuple(each(mol) for each in vectors) for mol in mols]


def _descriptors_chunk(smiles: Sequence[str], *, names: Sequence[str]) -> list[np.ndarray | None]:
    return _apply(functools.partial(_describe, names=names), smiles)


def _apply(vector: _Vector, smiles: Sequence[str]) -> list[np.ndarray | None]:
    with rdBase.BlockLogs():
        return [None if mol is None else vector(mol) for mol in parse_all(smiles)]


def _stack(
    smiles: Sequence[str], rows: list[np.ndarray | None], width: int, dtype: type[np.generic]
) -> np.ndarray:
    matrix = np.zeros((len(rows), width), dtype)
    for row, (text, vector) in enumerate(zip(smiles, rows, strict=True)):
        if vector is None:
            raise ValueError(
                f"cannot featurise row {row}: {text!r} is not a valid SMILES; "
                "pass the smiles column of standardise()"
            )
        matrix[row] = vector
    return matrix


for _block in ("morgan", "maccs", "rdkit", "physchem", "morgan_chiral"):
    _spec = MoleculeEncoderSpec(
        functools.partial(featurise, block=_block),
        len(column_names(_block)),
        bits=_block in _BITS,
        version="",
    )
    register("molecule_encoder", _block, _spec)
# Its network is JAX's, which this room does not import; it is looked up once it is asked for.
register("molecule_encoder", "minimol", "molphenix_jax.trained.encoders.minimol:BLOCK")
