"""The two-tower model: profiles and (molecule, concentration) pairs into one space.

Its sources: docs/method.md §4; what is done here: docs/method.md §12.
"""

import dataclasses
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from molphenix_jax.models.heads import HEADS
from molphenix_jax.parts import PartError


class Embeddings(NamedTuple):
    """What one forward pass gives."""

    z_x: Float[Array, "n d"]
    z_m: Float[Array, "n d"]
    scale: Float[Array, ""]
    bias: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """One projection head: its size as `ResidualHead` has it, and which of `HEADS` it is."""

    width: int
    n_blocks: int
    input_dropout: float = 0.0
    dropout: float = 0.0
    head: str = "residual"


def normalise(z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Scales rows to unit length in float32; a zero row stays finite."""
    z = z.astype(jnp.float32)
    return z * jax.lax.rsqrt(jnp.sum(z * z, axis=-1, keepdims=True) + 1e-12)


def row_norm(x: Float[Array, "*n k"]) -> Float[Array, "*n k"]:
    """Rows at mean 0 and variance 1: an embedding at the scale of the blocks beside it."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)


class MolPhenix(nn.Module):
    """Two heads, and the learnable scale and bias of the logits scale·cos + bias.

    Attributes:
        phenomics: Size of the phenomic head.
        molecules: Size of the molecule head.
        dim: Size of the joint space.
        scale_init: Initial scale; kept as its logarithm, as in CLIP.
        scale_max: Clamp of the scale (100 in CLIP and CLOOME), which `bounded` applies to the
            parameter, as open_clip does.
        bias_init: Initial bias; only the sigmoid losses learn it.
        dtype: Computation type of the heads; embeddings leave as float32.
    """

    phenomics: TowerConfig
    molecules: TowerConfig
    dim: int
    scale_init: float = 10.0
    scale_max: float = 100.0
    bias_init: float = -10.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes both heads and the two scalars."""
        make = lambda t, name: cast(Any, HEADS[t.head])(  # noqa: E731
            width=t.width,
            n_blocks=t.n_blocks,
            dim=self.dim,
            input_dropout=t.input_dropout,
            dropout=t.dropout,
            dtype=self.dtype,
            name=name,
        )
        self.phenomic_head = make(self.phenomics, "phenomic_head")
        self.molecule_head = make(self.molecules, "molecule_head")
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(jnp.log(self.scale_init)), ()
        )
        self.bias = self.param("bias", nn.initializers.constant(self.bias_init), ())

    @property
    def _most(self) -> np.float32:
        return np.float32(np.log(self.scale_max))

    def bounded(self, params: Any) -> Any:
        """The parameters with the scale at most at its clamp: for after each update."""
        own = params["params"]
        log_scale = jnp.minimum(own["log_scale"], self._most)
        return {**params, "params": {**own, "log_scale": log_scale}}

    def embed_profiles(
        self, profiles: Float[Array, "n ..."], *, train: bool = False
    ) -> Float[Array, "n d"]:
        """Scaled profiles [n, k] to unit vectors z_x [n, dim]."""
        return self._unit(self.phenomics, self.phenomic_head(profiles, train=train), len(profiles))

    def embed_molecules(
        self, molecules: Float[Array, "n k"], *, train: bool = False
    ) -> Float[Array, "n d"]:
        """Molecule features with the concentration encoding [n, k] to unit vectors z_m [n, dim]."""
        found = self.molecule_head(molecules, train=train)
        return self._unit(self.molecules, found, len(molecules))

    def _unit(self, tower: TowerConfig, found: Array, n: int) -> Float[Array, "n d"]:
        """What a head gave, as unit vectors.

        Raises:
            PartError: It is not [n, dim].
        """
        if found.shape != (n, self.dim):
            raise PartError(
                f"head {tower.head!r} gives {list(found.shape)} for {n} rows; it has to give "
                f"[{n}, {self.dim}], model.dim numbers for each"
            )
        return normalise(found)

    def __call__(
        self,
        profiles: Float[Array, "n ..."],
        molecules: Float[Array, "n j"],
        *,
        train: bool = False,
    ) -> Embeddings:
        """Embeds n pairs; row i of both belongs together."""
        # Of parameters that `bounded` has seen this is the identity, with its slope also at the
        # clamp; a minimum has none there, and a scale that came so far would stay for good.
        scale = jnp.where(self.log_scale > self._most, self.scale_max, jnp.exp(self.log_scale))
        return Embeddings(
            self.embed_profiles(profiles, train=train),
            self.embed_molecules(molecules, train=train),
            scale,
            self.bias,
        )


class EncodedMolPhenix(MolPhenix):
    """The two-tower model whose molecule features begin with the input of a trained encoder.

    Attributes:
        encoder: From [n, raw_width] to [n, k], called with `train=`.
        raw_width: Columns that are the encoder's input; the others are those of `MolPhenix`.
    """

    encoder: Any = None
    raw_width: int = 0

    def embed_molecules(
        self, molecules: Float[Array, "n k"], *, train: bool = False
    ) -> Float[Array, "n d"]:
        """The encoder's input beside molecule features [n, k] to unit vectors z_m [n, dim]."""
        encoded = self.encoder(molecules[:, : self.raw_width], train=train)
        beside = [row_norm(encoded.astype(jnp.float32)), molecules[:, self.raw_width :]]
        return super().embed_molecules(jnp.concatenate(beside, axis=1), train=train)


def joint_embedding(z: Float[Array, "members n d"]) -> Float[Array, "n members*d"]:
    """Joins an ensemble's embeddings into one, whose dot products are the mean of the cosines.

    The concatenation of unit vectors over sqrt(members) is a unit vector again, so whatever ranks
    embeddings need not know of ensembles.
    """
    members, n, d = z.shape
    return jnp.transpose(z, (1, 0, 2)).reshape(n, members * d) / jnp.sqrt(float(members))
