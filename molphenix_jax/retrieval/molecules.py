"""SMILES to what the molecule side of a trained model takes."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from molphenix_jax.molecules import (
    FEATURISER_VERSION,
    FINGERPRINTS,
    encoder_versions,
    featurise_blocks,
    standardise,
)
from molphenix_jax.molecules.graphs import (
    MolecularGraph,
    featurise_graphs,
    graphs_version,
)
from molphenix_jax.trained.alignment import Alignment
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.encoders.molecule_encoder import need_same_version
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.trained.sides import MoleculeRows
from molphenix_jax.wells.conditions.values import Conditions, level_key, listed_levels

GRAPHS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Featurised:
    """Usable molecules of n that were given.

    Attributes:
        rows: Their rows among those given.
        blocks: Their feature blocks.
        graphs: Their graphs, where the model takes such.
        errors: Why each of the others cannot be used, by row.
    """

    rows: Int[np.ndarray, " k"]
    blocks: Mapping[str, np.ndarray]
    graphs: Sequence[MolecularGraph]
    errors: Mapping[int, str]

    def embed(
        self, trained: Alignment, concentration_um: Float[np.ndarray, " k"], told: np.ndarray
    ) -> Float[np.ndarray, "k e"]:
        """z_m of them."""
        side, encoded = trained.molecular, None
        if not len(self.rows):
            return np.zeros((0, 1), np.float32)
        if side.encoder:
            embedder = GraphEmbedder(
                side.encoder, self.graphs, batch_size=GRAPHS_AT_ONCE, few_shapes=True
            )
            weights = {"params": trained.params["params"]["encoder"]}
            encoded = embedder(weights, ("graph",))

        def rows_of(k: np.ndarray) -> MoleculeRows:
            return MoleculeRows(
                {name: block[k] for name, block in self.blocks.items()},
                concentration_um[k].astype(np.float32),
                np.repeat(told, len(k), axis=0),
                None if encoded is None else encoded[:, k],
            )

        return side.embed(trained.params, rows_of, len(self.rows))


class MoleculeFeatures:
    """Makes the features of a model's molecule side."""

    def __init__(self, trained: Alignment):
        self._side, self._widths = trained.molecular, trained.block_widths
        self._made_by, self._probe = trained.about["featuriser"], trained.probe

    def of(
        self, smiles: Sequence[Any], embeddings: Mapping[str, ArrayLike], *, invalid: str
    ) -> Featurised:
        """Standardises and featurises.

        Args:
            smiles: n SMILES.
            embeddings: Rows [n, k] of the blocks that are not computed here.
            invalid: raise or nan, see `Model.embed_molecules`.

        Raises:
            ModelError: See there.
        """
        self.need_same_featuriser()
        given = self._given(embeddings, smiles)
        table = standardise(list(smiles))
        usable = np.flatnonzero([error is None for error in table["error"]])
        texts = table["smiles"].iloc[usable].tolist()
        found = self.of_standard(texts, {name: block[usable] for name, block in given.items()})
        errors = {i: str(error) for i, error in enumerate(table["error"]) if error is not None}
        errors |= {int(usable[row]): reason for row, reason in found.errors.items()}
        if errors and invalid == "raise":
            first = min(errors)
            raise ModelError(
                f"{len(errors)} of {len(table)} molecules cannot be used, the first is number "
                f"{first}, {smiles[first]!r}: {errors[first]}; leave them out, or invalid='nan'"
            )
        return dataclasses.replace(found, rows=usable[found.rows], errors=errors)

    def of_standard(self, smiles: Sequence[str], given: Mapping[str, np.ndarray]) -> Featurised:
        """Featurises molecules that are standardised already.

        Args:
            smiles: n standard SMILES.
            given: Rows [n, k] of the blocks that are not computed here.
        """
        errors: dict[int, str] = {}
        graphs: list[MolecularGraph] = []
        if self._side.encoder:
            made, without = featurise_graphs(
                smiles,
                max_atoms=self._made_by["max_atoms"],
                convention=self._side.encoder.network,
            )
            errors = dict(zip(without["row"].tolist(), without["reason"], strict=True))
            graphs = [graph for graph in made if graph is not None]
        rows = np.array([row for row in range(len(smiles)) if row not in errors], np.int64)
        kept = [str(smiles[row]) for row in rows]
        blocks = featurise_blocks(kept, self._computed)
        blocks |= {name: block[rows] for name, block in given.items()}
        return Featurised(rows, blocks, graphs, errors)

    @property
    def _computed(self) -> list[str]:
        return [name for name in self._side.taken if name in FINGERPRINTS]

    @property
    def outside(self) -> dict[str, int]:
        """Blocks that are not computed here, but given with the molecules: name and width."""
        blocks = self._side.taken
        return {name: self._widths[name] for name in blocks if name not in FINGERPRINTS}

    def told(self, conditions: Mapping[str, Any]) -> Float[np.ndarray, "1 c"]:
        """What the molecule side is told of the conditions.

        Raises:
            ModelError: One is missing, unknown, or has a value that was not trained.
        """
        trained = self._side.conditions
        for name, levels in trained.levels.items():
            if name not in conditions:
                raise ModelError(
                    f"conditions: the model has to be told {name}, one of "
                    f"{listed_levels(name, levels)}: conditions={{{name!r}: {levels[0]!r}}}, of "
                    f"molphenix index --conditions={name}={levels[0]}, of rank --molecules "
                    f"--told={name}={levels[0]}"
                )
        if unknown := sorted(set(conditions) - set(trained.levels)):
            takes = ", ".join(trained.levels) or "none"
            raise ModelError(
                f"conditions: {', '.join(unknown)} is none that the model takes: {takes}"
            )
        values = tuple(_level(conditions[name]) for name in trained.levels)
        for (name, levels), value in zip(trained.levels.items(), values, strict=True):
            if level_key(value) not in map(level_key, levels):
                raise ModelError(
                    f"conditions: {name} = {value} was not trained; there are "
                    f"{listed_levels(name, levels)}"
                )
        return Conditions(tuple(trained.levels), (values,)).encoded(trained)

    def need_outside(self, names: Collection[str], *, remedy: str) -> None:
        """Stops where not exactly the blocks from outside are given.

        Raises:
            ModelError: It names the first; `remedy` says how to give NAME.
        """
        outside = self.outside
        if unknown := sorted(set(names) - set(outside)):
            raise ModelError(
                f"embeddings: the model takes no block {unknown[0]!r} from outside, only "
                f"{', '.join(outside) or 'none'}"
            )
        for name in outside:
            if name not in names:
                raise ModelError(
                    f"the model was trained with embeddings {name!r} of a file: give those of "
                    f"these molecules as {remedy.replace('NAME', name)}"
                )

    def _given(
        self, embeddings: Mapping[str, ArrayLike], smiles: Sequence[Any]
    ) -> dict[str, np.ndarray]:
        self.need_outside(embeddings, remedy="embeddings={'NAME': array}")
        found = {}
        for name, width in self.outside.items():
            block = np.asarray(embeddings[name], np.float32)
            wanted = (len(smiles), width)
            if block.shape != wanted or not np.isfinite(block).all():
                raise ModelError(
                    f"embeddings[{name!r}]: {wanted} finite numbers are needed, found {block.shape}"
                )
            found[name] = block
        return found

    def need_same_featuriser(self) -> None:
        """Stops where the model's features were made by other versions than are installed.

        A model with a probe takes another version whose features of the probe are the same.

        Raises:
            ModelError: It names both.
        """
        pairs = [(self._made_by["features"], FEATURISER_VERSION)] if self._computed else []
        if self._probe is not None and pairs and pairs[0][0] != pairs[0][1]:
            pairs = [] if not self._probe.difference else pairs
        if self._side.encoder:
            pairs.append((self._made_by["graphs"], graphs_version(self._side.encoder.network)))
        for name, was in self._made_by.get("encoders", {}).items():
            if name not in FINGERPRINTS:
                raise ModelError(
                    f"the model takes the molecule encoder {name!r}, which is not registered: "
                    "import the plugin that registers it first"
                )
            pairs.append((f"{name} {was}", f"{name} {encoder_versions([name]).get(name, 'none')}"))
        for was, now in pairs:
            need_same_version("the model", was, now)


def _level(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
