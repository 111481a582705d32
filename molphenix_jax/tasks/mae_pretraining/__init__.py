"""Masked autoencoder on images: the task that gives an encoder of one's own (docs/method.md §9)."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from molphenix_jax import storage
from molphenix_jax.evaluation.neighbours import neighbour_record, standardise_plates
from molphenix_jax.models.vit import Reconstruction
from molphenix_jax.phenomics.images.intensity import intensity_features
from molphenix_jax.runtime.config import Config, plain
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE, fold_folder
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.simulated.images import simulate_images
from molphenix_jax.tasks import TaskSpec
from molphenix_jax.tasks.mae_pretraining.config import PATHS, check, default_config
from molphenix_jax.tasks.mae_pretraining.images import Images, held_back, read_images, to_8bit
from molphenix_jax.tasks.mae_pretraining.run import MAERun
from molphenix_jax.trained.encoders.image_encoder import write_image_encoder
from molphenix_jax.trained.folder import MODEL_FOLDER

__all__ = ["TASK", "FoldResult", "MAETask", "make"]


class FoldResult(NamedTuple):
    """What one trained fold is judged by."""

    trained: Float[np.ndarray, "n d"]
    untrained: Float[np.ndarray, "n d"]
    held: np.ndarray
    metrics: dict[str, float]
    painted: Reconstruction


@dataclasses.dataclass(frozen=True)
class MAETask:
    """The images, shared by all folds."""

    config: Config
    images: Images
    mesh: jax.sharding.Mesh

    evaluates_in_shares = False

    @property
    def n_folds(self) -> int:
        """Number of runs: every fold as often as the config repeats it."""
        return self.config.data.folds * self.config.data.repeats

    def run(self, fold: int, workdir: pathlib.Path) -> MAERun:
        """The run that holds back one part of the images; after the last part comes the first."""
        del workdir
        d = self.config.data
        held = held_back(
            self.images,
            fold=fold % d.folds,
            n_folds=d.folds,
            fraction=d.validation_fraction,
            seed=d.split_seed,
        )
        say(f"training on {(~held).sum():,} images, {held.sum():,} are held back")
        return MAERun(self.config, self.images.pixels, held, self.mesh, fold=fold)

    def keep(self, workdir: pathlib.Path) -> None:
        """Nothing: no image is rejected."""

    def keep_run(self, run: MAERun, workdir: pathlib.Path) -> None:
        """Nothing: which images are held back follows from the config."""

    def keep_model(self, run: MAERun, params: Any, workdir: pathlib.Path) -> None:
        """Writes `model/`, for `load_image_encoder`."""
        trained = f"MAE trained for {self.config.train.steps:,} updates"
        write_image_encoder(
            workdir / MODEL_FOLDER,
            run.sizes,
            jax.tree.map(lambda leaf: leaf[0], params),
            source=f"{trained} on {pathlib.Path(self.config.data.images).name}",
            config=plain(self.config),
        )
        say(f"encoder written: {workdir / MODEL_FOLDER}")

    def evaluate(self, run: MAERun, params: Any, out: pathlib.Path) -> FoldResult:
        """Embeds all images with the trained and the untrained encoder."""
        del out
        params = jax.tree.map(lambda leaf: leaf[0], params)
        whole, metrics = run.paint(params)
        painted = jax.tree.map(lambda a: np.asarray(a[: self.config.eval.n_painted]), whole)
        if self.images.labels is None:
            nothing = np.zeros((len(run.pixels), 0))
            return FoldResult(nothing, nothing, run.held, metrics, painted)
        return FoldResult(run.embed(params), run.embed(run.untrained()), run.held, metrics, painted)

    def conclude(
        self, results: Sequence[FoldResult], workdir: pathlib.Path, out: pathlib.Path
    ) -> None:
        """Pools the folds, writes `evaluation.json` and `report/`, prints the table."""
        from molphenix_jax.reporting import painting
        from molphenix_jax.reporting.encoders.page import neighbour_text, write_encoder_page

        c, labels = self.config, self.images.labels
        record: dict[str, Any] = {
            "task": c.task,
            "standardise": c.eval.standardise,
            "validation": [result.metrics for result in results],
        }
        embeddings: dict[str, list[np.ndarray]] = {}
        if labels is None:
            record["not_computed"] = [f"nearest neighbours: {self.images.why_no_labels}"]
        else:
            plain = np.asarray(jax.jit(intensity_features)(to_8bit(self.images.pixels)))
            # Quantities of unlike units: each to variance 1, whatever the plates do.
            plain = (plain - plain.mean(0)) / np.maximum(plain.std(0), 1e-9)
            embeddings = {
                "mae": [result.trained for result in results],
                "untrained": [result.untrained for result in results],
                "intensity": [plain],
            }
            if c.eval.standardise == "plate":
                embeddings = {
                    model: [standardise_plates(z, labels.plate) for z in seeds]
                    for model, seeds in embeddings.items()
                }
            record |= neighbour_record(
                labels,
                embeddings,
                unseen=[result.held for result in results],
                compared=("mae", "untrained"),
                n_bootstrap=c.eval.n_bootstrap,
                seed=c.seed,
            )
        folders = [fold_folder(workdir, fold, self.n_folds) for fold in range(len(results))]
        figure = None
        if c.eval.n_painted:
            shown = painting.pictures(
                results[0].painted, channels=self.images.pixels.shape[1], crop=c.data.crop
            )
            figure = painting.painting_figure(*shown)
        page = write_encoder_page(
            out,
            record,
            [list(read_metrics(folder / METRICS_FILE)) for folder in folders],
            figure,
            embeddings=embeddings,
            labels=labels,
            title=f"Masked autoencoder on {pathlib.Path(c.data.images).name}",
        )
        # Last: its presence says that the run is finished.
        storage.write_json(out / EVALUATION_FILE, record)
        say(neighbour_text(record).rstrip())
        say(f"reconstructions, pictures and numbers: {page}")


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> MAETask:
    """Reads the images and their table.

    Raises:
        ImagesFileError: They cannot be used.
    """
    if config.data.simulated:
        config = config.copy_and_resolve_references()
        config.data.images = str(simulate_images(storage.cache_folder("")).images)
    d = config.data
    images = read_images(d.images, metadata=d.metadata, columns=d.columns.to_dict(), crop=d.crop)
    n, channels, height, width = images.pixels.shape
    say(f"{d.images}: {n:,} images of {channels} channels, {height} × {width} pixels")
    if images.labels is None:
        say(f"no evaluation by nearest neighbours: {images.why_no_labels}")
    return MAETask(config, images, mesh)


TASK = TaskSpec(default_config, make, check, paths=PATHS)
