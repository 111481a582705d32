"""One model on one split: what the training loop asks of an alignment run, and its embeddings.

Frozen profiles and molecule features live on the device; a training step gathers rows by index.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from molphenix_jax import losses
from molphenix_jax.evaluation import rank_of_positive, recall_at
from molphenix_jax.models import Embeddings, EncodedMolPhenix, MolPhenix
from molphenix_jax.molecules import FINGERPRINTS
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.run import Run
from molphenix_jax.screens.sampling import Batch
from molphenix_jax.screens.screen import Screen, ScreenError, unpacked_rows
from molphenix_jax.screens.splits import Split
from molphenix_jax.screens.ties import describe_ties, row_digests
from molphenix_jax.tasks.align.config import tower_config
from molphenix_jax.tasks.align.held_out import held_out_of
from molphenix_jax.tasks.align.training.assets import (
    AlignAssets,
    MoleculeInputs,
    dose_constants,
    fit_inputs,
    fitted_pairs,
    own_encoder,
    scaled_blocks,
)
from molphenix_jax.tasks.align.training.similar import SOFT_POSITIVES, first_bias, fit_similar
from molphenix_jax.tasks.align.training.start import started
from molphenix_jax.tasks.align.training.tables import Pairs, Tables, gather, make_feed
from molphenix_jax.tasks.align.training.visits import describe_visits, make_visits
from molphenix_jax.trained.alignment import Alignment
from molphenix_jax.trained.scaling import fit_scaling
from molphenix_jax.trained.sides import MoleculeRows, MoleculeSide, PhenomicSide


class AlignRun(Run):
    """One model on one split; what `train.fit` asks for, and embeddings for the evaluation."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        split: Split,
        mesh: jax.sharding.Mesh,
        *,
        molecules: MoleculeInputs | None = None,
    ):
        """Sets up the run.

        Args:
            config: Of the run.
            screen: What is learned.
            split: Of its perturbations.
            mesh: Devices.
            molecules: What molecules and doses go in by, where it is not fitted on this screen.

        Raises:
            ScreenError: Too few training pairs are left.
        """
        self.config, self.screen, self.split, self.mesh = config, screen, split, mesh
        visits = make_visits(config, screen, split, mesh.devices.size)
        # The pairs that training may visit at all; the baselines learn from the same.
        self.visited, self.sampler = visits.pairs, visits.sampler
        self.batch_rows = self.sampler.batch_size
        self.blocks, self.raw = tuple(sorted(screen.block_names)), own_encoder(config)
        fitted = fitted_pairs(self.visited, config.seed)
        profile = self.train_profiles(fitted)
        self.similar = fit_similar(
            config, screen, split, fitted, profile, batch_rows=self.batch_rows
        )
        self.feed, where = make_feed(config, screen, split, self.sampler, mesh)
        said = describe_visits(visits, config, screen, split)
        self.notes = (*said, *self.similar.notes, where, *self._ties())
        # What the molecule side is told of each condition; [c, 0] where there is one.
        self.conditions = screen.conditions.encoded(screen.conditions)
        inputs = molecules or fit_inputs([(screen, self.visited)], config)
        self.encoding, self.assets = inputs.encoding, self._fit_assets(inputs, profile)
        self.begins_at = inputs.start
        h = config.model
        outside = {
            "phenomic_head": h.phenomics.head != "residual",
            "molecule_head": h.molecules.head != "residual",
            "encoder": bool(self.raw),
        }
        self.decay_rules = tuple((f"/{name}/", False) for name, it_is in outside.items() if it_is)
        self._take(self.assets)

    def _make_model(self) -> MolPhenix:
        if not self.raw:
            return self._network(MolPhenix)
        network = FINGERPRINTS[self.raw].network
        assert network is not None, "of every trained encoder"
        return self._network(EncodedMolPhenix, encoder=network(), raw_width=self._raw_width)

    @property
    def _raw_width(self) -> int:
        return self.feed.rows(self.raw, np.zeros(1, int)).shape[1] if self.raw else 0

    def _network(self, kind: type[MolPhenix], **more: Any) -> MolPhenix:
        """The two-tower model of the config; `more` is what a kind of its own takes beside."""
        h = self.config.model
        return kind(
            phenomics=tower_config(h.phenomics),
            molecules=tower_config(h.molecules),
            dim=h.dim,
            scale_init=h.scale_init,
            bias_init=first_bias(self.config, self.similar, batch_rows=self.sampler.batch_size),
            dtype=jnp.dtype(self.config.train.compute_dtype),
            **more,
        )

    def _take(self, assets: AlignAssets) -> None:
        """Makes model, loss and the two sides from what was fitted on the training data."""
        self.similar = self.similar.taken(assets.null_constant)
        self.model = self._make_model()
        self._loss = losses.make_loss(
            self.config.loss.name,
            execution=self.config.loss.execution,
            chunk_size=self.config.loss.chunk_size,
            mesh=self.mesh,
            **self.similar.options,
        )
        self._use(assets)

    def _use(self, assets: AlignAssets) -> None:
        """Makes the two sides from what was fitted on the training data."""
        self.assets = assets
        self.phenomic_side = PhenomicSide(self.model, assets.profile)
        self.molecule_side = MoleculeSide(
            self.model,
            scaled_blocks(self.config, self.screen),
            assets.molecule,
            self.encoding,
            self.screen.conditions,
            raw=self.raw,
            raw_width=self._raw_width,
        )

    def _ties(self) -> list[str]:
        """What is said of molecules that have the same features, unless the screen says it."""
        stored = list(self.feed.stored_blocks().values())
        said = describe_ties(row_digests(stored), self.blocks) if stored else []
        return [note for note in said if note not in self.screen.notes]

    def _fit_assets(self, inputs: MoleculeInputs, profile: Float[np.ndarray, "k d"]) -> AlignAssets:
        tower = self.config.model.phenomics
        return AlignAssets(
            fit_scaling([profile], components=tower.components, whiten=tower.whiten),
            inputs.scaling,
            *dose_constants(inputs.encoding),
            self.similar.stored(profile.shape[1]),
        )

    # What the training loop asks for.

    def init(self, key: jax.Array) -> Any:
        """Initial parameters of one member."""
        profiles = jnp.zeros((2, self.assets.profile.width))
        molecules = jnp.zeros((2, self.molecule_side.width))
        return self.model.init(key, profiles, molecules)

    def start(self, params: Any) -> Any:
        """Initial parameters of all members, the molecule side that of the run it starts from."""
        if self.begins_at is None:
            return params
        return started(params, self.begins_at, n_conditions=self.conditions.shape[1])

    def adopt(self, assets: AlignAssets) -> None:
        """Takes the input scaling of a checkpoint in place of the recomputed one.

        Raises:
            ConfigError: The screen is not the one that the checkpoint was trained on.
        """
        for ours, theirs in (
            (self.assets.profile.mean, assets.profile.mean),
            (self.assets.molecule.mean, assets.molecule.mean),
            (self.similar.null_constant, self.similar.taken(assets.null_constant).null_constant),
        ):
            if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-5):
                raise ConfigError(
                    f"the data of screen {self.screen.name} changed since this run began; put the "
                    "old wells file back, or train in a new --workdir"
                )
        self._take(assets)

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> Batch | Pairs:
        """The batch of one step, or some of its rows: indices, or the data where it streams."""
        return self.feed.batch(self.sampler.batch(step, rows))

    @property
    def tables(self) -> Tables:
        """What a batch of indices points into, as NumPy arrays for one device."""
        return self.feed.host_tables()

    def place_tables(self, mesh: jax.sharding.Mesh) -> Any:
        """The tables on the devices, rows spread over them; nothing where the data streams."""
        return self.feed.place(mesh)

    def table_shapes(self, mesh: jax.sharding.Mesh) -> Any:
        """What `place_tables` gives, as shapes and placement alone."""
        return self.feed.shapes(mesh)

    def loss(
        self, params: Any, batch: Batch | Pairs, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Gathers a batch, embeds both sides and applies the configured loss."""
        pairs = gather(batch, tables, self.mesh)
        sample = jnp.einsum("br,brd->bd", pairs.weight, pairs.replicates)
        return self.loss_of_pairs(params, self.phenomic_side.scaling(sample), pairs, key)

    def loss_of_pairs(
        self, params: Any, phenomics: Float[Array, "b ..."], pairs: Pairs, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of what the phenomic tower is given, and of the molecules of a batch."""
        blocks = {name: self.feed.unpack(name, block) for name, block in pairs.blocks.items()}
        out = self.model.apply(
            params,
            phenomics,
            self.molecule_side.inputs(
                blocks, pairs.concentration_um, jnp.asarray(self.conditions)[pairs.condition]
            ),
            train=True,
            rngs={"dropout": key},
        )
        return self.loss_of(cast(Embeddings, out), pairs)

    def loss_of(self, out: Embeddings, pairs: Pairs) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The configured loss of embeddings, with its metrics."""
        z_x, z_m, scale, bias = out
        frozen = pairs.profile
        if frozen is None:
            frozen = jnp.einsum("br,brd->bd", pairs.weight, pairs.replicates)
        dtype = jnp.dtype(self.config.train.compute_dtype)
        frozen = jax.lax.stop_gradient(self.similar.coordinates(frozen))
        value, metrics = self._loss(
            z_x.astype(dtype),
            z_m.astype(dtype),
            scale=scale,
            bias=bias,
            profile=frozen,
            null_constant=jnp.float32(self.similar.null_constant),
        )
        # In a ring no device has rows of all.
        if self.config.loss.name == "s2l" and self.config.loss.execution != "ring":
            metrics = {**metrics, SOFT_POSITIVES: self.similar.soft_in_row(frozen)}
        return value, {**metrics, "scale": scale, "bias": bias}

    def bounded(self, params: Any) -> Any:
        """Parameters of one member with the scale at most at its clamp."""
        return self.model.bounded(params)

    def validate(self, params: Any) -> dict[str, float]:
        """Recall on the validation molecules, profile → molecule, all pairs or a sample of them.

        That of active pairs (the strictest `eval.psi`), if there are any, has the same gallery.
        """
        ids = self.split.validation
        if not len(ids):  # of a refit
            return {}
        limit = self.config.eval.validation_pairs
        if len(ids) > limit:
            rng = np.random.default_rng(self.config.seed)
            ids = np.sort(rng.choice(ids, limit, replace=False))
        n = len(ids)
        rank = rank_of_positive(
            self.embed_queries(
                params, self.train_profiles(ids), ids=ids, wells=~self.split.withheld
            ),
            self.embed_perturbations(params, self.screen, ids),
            np.arange(n),
        ).pessimistic
        found = {
            "validation_top_1pct": recall_at(rank, n, 1.0),
            "validation_top_5pct": recall_at(rank, n, 5.0),
            "validation_median_rank_pct": float(np.median(rank) / n * 100),
            "validation_mean_log_rank": float(np.log(rank / n).mean()),
        }
        active = self.screen.p_value[ids] <= min(self.config.eval.psi, default=0.0)
        if active.any():
            found["validation_active_top_1pct"] = recall_at(rank[active], n, 1.0)
            found["validation_active_top_5pct"] = recall_at(rank[active], n, 5.0)
        return found

    # Inputs and embeddings.

    def train_profiles(self, ids: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        """Profiles as training sees them: withheld wells count only for unseen images."""
        return self.screen.profiles(ids, wells=~self.split.withheld)

    def condition_input(
        self, screen: Screen, ids: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n c"]:
        """What the molecule side is told of the conditions of perturbations of any screen.

        Raises:
            ScreenError: A condition that the training screen lacks.
        """
        told = screen.conditions.encoded(self.screen.conditions)[screen.condition[ids]]
        if not np.isfinite(told).all():
            raise ScreenError(
                f"screen {screen.name} has perturbations under conditions that "
                f"{self.screen.name} lacks: the model takes "
                f"{', '.join(self.screen.conditions.levels)} as input"
            )
        return told

    def embed_queries(
        self,
        params: Any,
        profiles: Float[np.ndarray, "n d"],
        *,
        ids: Int[np.ndarray, " n"],
        wells: Bool[np.ndarray, " w"] | None,
    ) -> Float[np.ndarray, "n e"]:
        """z_x of perturbations that look for their molecule.

        Args:
            params: Parameters [members, ...].
            profiles: Their profiles.
            ids: Which perturbations they are; another kind of run embeds something else of theirs.
            wells: The replicates that the profiles are of; None means all.
        """
        del ids, wells
        return self.phenomic_side.embed(params, profiles)

    def embed_perturbations(
        self, params: Any, screen: Screen, ids: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n e"]:
        """z_m of perturbations of a screen with the same blocks."""
        rows_of = self._rows_of(screen)
        return self.molecule_side.embed(params, lambda places: rows_of(ids[places]), len(ids))

    def trained(self, params: Any, *, splits: pd.DataFrame, about: Mapping[str, Any]) -> Alignment:
        """The model with these parameters as it is used without its screen.

        Args:
            params: Parameters [members, …].
            splits: See `Alignment`.
            about: See `Alignment`.
        """
        widths = {name: self.feed.rows(name, np.zeros(1, int)).shape[1] for name in self.blocks}
        return Alignment(
            jax.tree.map(np.asarray, params),
            self.phenomic_side,
            self.molecule_side,
            widths,
            self.screen.feature_names,
            self.screen.archive.correction,
            self.screen.archive.null,
            splits,
            about,
            held_out_of(self.screen, self.split),
        )

    def _rows_of(self, screen: Screen) -> Callable[[Int[np.ndarray, " k"]], MoleculeRows]:
        """What gives the inputs of some perturbations of a screen."""

        def rows_of(ids: Int[np.ndarray, " k"]) -> MoleculeRows:
            molecule = screen.molecule[ids]
            blocks = {name: unpacked_rows(screen.blocks[name], molecule) for name in self.blocks}
            told = self.condition_input(screen, ids)
            return MoleculeRows(blocks, screen.concentration_um[ids], told)

        return rows_of
