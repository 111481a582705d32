"""The alignment task on images: the same screen, splits, baselines and table."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from molphenix_jax.images import ImageSource, find_fields, stack_images
from molphenix_jax.images.fields import Take, write_rejected
from molphenix_jax.phenomics import CropConfig
from molphenix_jax.runtime.config import Config, listed
from molphenix_jax.runtime.progress import say
from molphenix_jax.screens.splits import Split
from molphenix_jax.storage import cache_folder
from molphenix_jax.tasks import align
from molphenix_jax.tasks.align.training.assets import MoleculeInputs
from molphenix_jax.tasks.align_images.config import with_files
from molphenix_jax.tasks.align_images.run import ImageAlignRun
from molphenix_jax.tasks.align_images.wells import ReplicateImages, match_images


@dataclasses.dataclass(frozen=True)
class ImageAlignTask(align.AlignTask):
    """An alignment task with the images of its wells."""

    stack: Any
    images: ReplicateImages
    rejected_images: Sequence[Any]

    def _make_split(self, fold: int) -> Split:
        """Without perturbations that have no image to be seen."""
        split = super()._make_split(fold)
        any_image = self.images.counts > 0
        seen = self.images.seen(~split.withheld).counts > 0
        withheld = self.images.seen(split.withheld).counts > 0
        kept = {
            "train": split.train[seen[split.train]],
            "validation": split.validation[seen[split.validation]],
            "test": split.test[any_image[split.test]],
            "unseen_images": split.unseen_images[withheld[split.unseen_images]],
        }
        lost = sum(len(getattr(split, name)) - len(ids) for name, ids in kept.items())
        if lost:
            say(f"- {lost:,} perturbations of the splits have no image and are left out")
        heldout = {dose: ids[any_image[ids]] for dose, ids in split.heldout.items()}
        return dataclasses.replace(split, **kept, heldout=heldout)

    def keep(self, workdir: pathlib.Path) -> None:
        """Writes `rejected_images.csv` beside what an alignment run keeps."""
        super().keep(workdir)
        if self.rejected_images:
            path = workdir / "rejected_images.csv"
            write_rejected(path, self.rejected_images)
            n = len(self.rejected_images)
            say(f"- {n:,} images were rejected: {path} has each with its reason")

    def make_run(self, split: Split, molecules: MoleculeInputs | None = None) -> ImageAlignRun:
        """The run of a split."""
        return ImageAlignRun(
            self.config,
            self.screen,
            split,
            self.mesh,
            stack=self.stack,
            images=self.images,
            molecules=molecules,
        )


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> ImageAlignTask:
    """Prepares the screen and the images; the latter are read once and kept in the cache folder.

    Raises:
        ConfigError: Wells or images are not named.
        ImagesError: No usable image.
        ImageWellsError: Images and wells do not fit together.
        ScreenError: The screen of an earlier run does not know its wells.
    """
    config = with_files(config)
    i, d = config.images, config.data
    found = find_fields(
        ImageSource(
            layout=i.layout,
            images=pathlib.Path(i.path),
            index=pathlib.Path(i.index) if i.index else None,
            channels=listed(i.channels),
            max_image_mib=i.max_image_mib,
            take=Take(i.time_point, i.plane),
        )
    )
    for note in found.notes:
        say(f"- {note}")
    crop = CropConfig(0, core=i.core, downsample=i.downsample, standardise=i.standardise)
    stack = stack_images(found, crop, cache=cache_folder(d.cache), say=say)
    task = align.make(config, mesh, workdir)
    usable = np.ones(len(found.fields), bool)
    usable[list(stack.rejected)] = False
    images = match_images(task.screen, found.fields, usable)
    base = {f.name: getattr(task, f.name) for f in dataclasses.fields(align.AlignTask) if f.init}
    rejected = (*found.rejected, *stack.rejected.values())
    return ImageAlignTask(**base, stack=stack.images, images=images, rejected_images=rejected)
