"""The two sides of an alignment model: what each takes from raw inputs to its tower, and beyond.

Training and use share them. They hold what was fitted on the training data (`InputScaling`, the
dose grid, the conditions), and no weights: these come with each call, members first.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from molphenix_jax.models import ConcentrationEncoding, joint_embedding, row_norm
from molphenix_jax.models.mpnn import MPNNConfig
from molphenix_jax.trained.scaling import InputScaling
from molphenix_jax.wells.conditions.values import Conditions

CHUNK, _IMAGE_CHUNK = 4096, 64  # rows, and images, embedded at once
_SMALLEST = 64  # rows of the smallest chunk


@dataclasses.dataclass(frozen=True, eq=False)
class PhenomicSide:
    """From corrected profiles to z_x.

    Attributes:
        model: Has the method `embed_profiles`.
        scaling: From a profile to the tower's input.
    """

    model: Any
    scaling: InputScaling

    def embed(self, params: Any, profiles: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """z_x of corrected profiles, the embeddings of the members joined."""
        return in_chunks(lambda x: self._apply(params, self.scaling, x), profiles, CHUNK)

    @functools.cached_property
    def _apply(self) -> Any:
        apply = _of_members(self.model, "embed_profiles", (0, None))
        return jax.jit(lambda params, scaling, x: joint_embedding(apply(params, scaling(x))))


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSide:
    """From images to z_x.

    Attributes:
        model: Has the method `embed_profiles`.
        mean: Mean of each channel over the training images, of values from 0 to 1.
        std: Standard deviation of the same; 1 for a channel of one value.
    """

    model: Any
    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]

    def standardised(self, images: UInt8[Array, "n c h w"]) -> Float[Array, "n c h w"]:
        """Each channel less its training mean, over its training standard deviation."""
        mean, std = (jnp.reshape(jnp.asarray(x), (1, -1, 1, 1)) for x in (self.mean, self.std))
        return (images.astype(jnp.float32) / 255.0 - mean) / std

    def embed(
        self,
        params: Any,
        images_of: Callable[[Int[np.ndarray, " k"]], UInt8[np.ndarray, "k c h w"]],
        n: int,
    ) -> Float[np.ndarray, "members n e"]:
        """z_x of n images under each member, unit vectors.

        Args:
            params: Parameters [members, …].
            images_of: Gives the images of some numbers below n; asked for a chunk at a time.
            n: How many images there are.
        """
        return in_chunks(
            lambda numbers: self._apply(params, images_of(numbers)),
            np.arange(n),
            _IMAGE_CHUNK,
            axis=1,
            always_pad=True,
        )

    @functools.cached_property
    def _apply(self) -> Any:
        apply = _of_members(self.model, "embed_profiles", (0, None))
        return jax.jit(lambda params, images: apply(params, self.standardised(images)))


class MoleculeRows(NamedTuple):
    """What the molecule side takes of n (molecule, concentration, condition).

    Attributes:
        blocks: Feature blocks by name, unpacked.
        concentration_um: In µM.
        told: Their conditions as `Conditions.encoded` gives them.
        encoded: Embeddings of the molecule encoder, where the model has one.
    """

    blocks: Mapping[str, Any]
    concentration_um: Float[np.ndarray | Array, " n"]
    told: Float[np.ndarray | Array, "n c"]
    encoded: Float[np.ndarray | Array, "members n k"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class MoleculeSide:
    """From molecules at concentrations to z_m.

    Attributes:
        model: Has the method `embed_molecules`.
        blocks: Names of the feature blocks, in the order of their columns.
        scaling: From the blocks, side by side, to inputs of the tower.
        dose: The concentration encoding.
        conditions: Those of the training screen.
        encoder: Sizes of the molecule encoder that was trained with the heads, if any; its weights
            are the parameters under `encoder`.
        raw: Name of the block that the network's own encoder reads, unscaled, if it has one
            (`EncodedMolPhenix`).
        raw_width: Its columns.
    """

    model: Any
    blocks: tuple[str, ...]
    scaling: InputScaling
    dose: ConcentrationEncoding
    conditions: Conditions
    encoder: MPNNConfig | None = None
    raw: str = ""
    raw_width: int = 0

    @property
    def taken(self) -> tuple[str, ...]:
        """Names of all blocks that it takes."""
        return (*self.blocks, *([self.raw] if self.raw else []))

    @property
    def width(self) -> int:
        """Columns of the network's input, apart from what an MPNN encoder adds."""
        told = self.conditions.encoded(self.conditions).shape[1]
        scaled = self.scaling.width if self.blocks else 0
        return self.raw_width + scaled + self.dose.width + told

    def inputs(
        self,
        blocks: Mapping[str, Any],
        concentration_um: Float[Array, " n"],
        told: Float[Array, "n c"],
    ) -> Float[Array, "n k"]:
        """The raw block, scaled blocks, the encodings of concentration and condition, in a row."""
        columns = [jnp.asarray(blocks[name], jnp.float32) for name in self.blocks]
        scaled = [self.scaling(jnp.concatenate(columns, axis=1))] if columns else []
        raw = [jnp.asarray(blocks[self.raw], jnp.float32)] if self.raw else []
        return jnp.concatenate([*raw, *scaled, self.dose(concentration_um), told], axis=1)

    def embed(
        self, params: Any, rows_of: Callable[[Int[np.ndarray, " k"]], MoleculeRows], n: int
    ) -> Float[np.ndarray, "n e"]:
        """z_m of n rows, the embeddings of the members joined.

        Args:
            params: Parameters [members, …].
            rows_of: Gives the rows of some numbers below n; asked for a chunk at a time.
            n: How many rows there are.
        """
        return in_chunks(
            lambda numbers: self._apply(params, self.scaling, rows_of(numbers)),
            np.arange(n),
            CHUNK,
        )

    @functools.cached_property
    def _apply(self) -> Any:
        def apply(params: Any, scaling: InputScaling, rows: MoleculeRows) -> Array:
            side = dataclasses.replace(self, scaling=scaling)
            plain = side.inputs(
                rows.blocks, jnp.asarray(rows.concentration_um), jnp.asarray(rows.told)
            )
            if rows.encoded is None:
                z = _of_members(self.model, "embed_molecules", (0, None))(params, plain)
            else:
                graph = row_norm(jnp.asarray(rows.encoded))
                both = [graph, jnp.broadcast_to(plain[None], (len(graph), *plain.shape))]
                inputs = jnp.concatenate(both, axis=2)
                z = _of_members(self.model, "embed_molecules", (0, 0))(params, inputs)
            return joint_embedding(z)

        return jax.jit(apply)


def _of_members(model: Any, method: str, axes: tuple[int, int | None]) -> Any:
    """A method of the model, for parameters [members, …] and inputs of all or of each."""
    return jax.vmap(lambda params, x: model.apply(params, x, method=method), axes)


def in_chunks(
    embed: Callable[[Any], Array],
    rows: np.ndarray,
    size: int,
    *,
    axis: int = 0,
    always_pad: bool = False,
) -> np.ndarray:
    """Applies `embed` to chunks of one padded size, so that it compiles once.

    Rows that are fewer than a chunk are padded to the next of a few sizes.

    Args:
        embed: From k rows to an array with k along `axis`.
        rows: What it is applied to.
        size: Of a chunk.
        axis: See `embed`.
        always_pad: To a whole chunk, however few the rows are.
    """
    if not always_pad:
        size = padded_size(len(rows), size)
    parts = []
    for start in range(0, max(len(rows), 1), size):
        chunk = rows[start : start + size]
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])
        found = np.asarray(embed(padded))
        parts.append(np.take(found, np.arange(len(chunk)), axis=axis))
    return np.concatenate(parts, axis=axis)


def padded_size(n: int, most: int) -> int:
    """The smallest of 64, 128, 256, …, `most` that n rows fit into."""
    return min(most, 1 << max(n - 1, _SMALLEST - 1).bit_length())
