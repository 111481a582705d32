"""Alignment of molecules and phenomics: the task that the paper is about.

`AlignTask` prepares the screens once, makes one `AlignRun` per fold, and pools their results.
"""

import dataclasses
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax import storage
from molphenix_jax.evaluation import Ranks, by_fold, evaluation_record, graded_frame, pool
from molphenix_jax.evaluation.kept import ranks_frame
from molphenix_jax.molecules import encoder_versions
from molphenix_jax.molecules.drawing import draw
from molphenix_jax.runtime.config import Config, plain
from molphenix_jax.runtime.progress import console, say
from molphenix_jax.runtime.workdir.checkpointing import saved_steps
from molphenix_jax.runtime.workdir.folder import (
    EVALUATION_FILE,
    GRADED_FILE,
    RANKS_FILE,
    fold_folder,
)
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.screen import Screen
from molphenix_jax.screens.splits import (
    SPLITS_FILE,
    Split,
    leakage_report,
    make_splits,
    need_same_split,
    split_table,
    whole_split,
)
from molphenix_jax.tasks.align.answers import (
    molecule_table,
    next_steps,
    screen_facts,
    soft_positives_fact,
    with_neighbours,
)
from molphenix_jax.tasks.align.evaluation import (
    BaselineInputs,
    condition_counts,
    rank_run,
)
from molphenix_jax.tasks.align.refit import keep_measured, read_measured
from molphenix_jax.tasks.align.training.assets import MoleculeInputs
from molphenix_jax.tasks.align.training.encoder import EncoderAlignRun
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.tasks.align.training.start import (
    keep_start,
    need_fitting,
    start_inputs,
    with_trained,
)
from molphenix_jax.tasks.molecule_encoder import (
    convention_of,
    featuriser_of,
    licences_of,
    need_same_featuriser,
    write_featuriser,
)
from molphenix_jax.tasks.stored import anew_command
from molphenix_jax.trained.alignment import write_alignment
from molphenix_jax.trained.folder import MODEL_FOLDER

# What the screen of a run was computed from, and beside it how its columns were read.
SCREEN_FILE, READ_FIELDS = "screen.json", ("concentration", "conditions")
# Columns that the final table needs; a log file is no narrower than that.
TABLE_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class AlignTask:
    """Prepared screens and the groups of their molecules, shared by all folds.

    Attributes:
        config: Of the run; of one of several screens, what it would say of that one alone.
        screen: What is learned.
        unseen: Other screens by name, to be evaluated on.
        together: The screens whose molecules are split at once, with the groups of their molecules
            and, where a list says so, their sides; `screen` is one of them.
        mesh: Devices.
        features: What the baselines know of molecules.
    """

    config: Config
    screen: Screen
    unseen: Mapping[str, Screen]
    together: Sequence[tuple[Screen, Int[np.ndarray, " m"], Int[np.ndarray, " m"] | None]]
    mesh: jax.sharding.Mesh
    features: BaselineInputs
    _splits: dict[int, Split] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    evaluates_in_shares = True

    @property
    def n_folds(self) -> int:
        """Number of runs."""
        return self.config.data.folds * self.config.data.repeats

    def split(self, fold: int) -> Split:
        """The split whose unseen molecules are fold `fold`."""
        if fold not in self._splits:
            self._splits[fold] = self._make_split(fold)
        return self._splits[fold]

    def _make_split(self, fold: int) -> Split:
        d = self.config.data
        if d.refit_of:
            return whole_split(self.screen)
        screens, groups, sides = zip(*self.together, strict=True)
        repeat, part = divmod(fold, d.folds)
        splits = make_splits(
            screens,
            groups,
            fold=part,
            n_folds=d.folds,
            test_fraction=d.test_fraction,
            validation_fraction=d.validation_fraction,
            unseen_images_fraction=d.unseen_images_fraction,
            heldout_concentrations_um=tuple(self.config.eval.heldout_concentrations),
            seed=d.split_seed + repeat,
            sides=None if sides[0] is None else sides,
        )
        return next(s for of, s in zip(screens, splits, strict=True) if of is self.screen)

    def make_run(self, split: Split, molecules: MoleculeInputs | None = None) -> AlignRun:
        """The run of a split."""
        kind = EncoderAlignRun if self.config.molecules.encoder == "mpnn" else AlignRun
        return kind(self.config, self.screen, split, self.mesh, molecules=molecules)

    def run(self, fold: int, workdir: pathlib.Path) -> AlignRun:
        """The run whose unseen molecules are fold `fold`."""
        split = self.split(fold)
        inputs = start_inputs(self.config, self.screen, split, fold=fold, workdir=workdir)
        return self.run_of(split, workdir, begun=bool(saved_steps(workdir)), molecules=inputs)

    def run_of(
        self,
        split: Split,
        workdir: pathlib.Path,
        *,
        begun: bool,
        molecules: MoleculeInputs | None = None,
    ) -> AlignRun:
        """The run of a split whose files are in a folder.

        Args:
            split: Of the screen.
            workdir: The folder.
            begun: There is a checkpoint.
            molecules: See `AlignRun`.
        """
        need_same_split(workdir / SPLITS_FILE, split_table(self.screen, split))
        if self.config.molecules.encoder == "mpnn":
            need_same_featuriser(workdir, features=False, convention=convention_of(self.config))
        run = (self._from_checkpoint() if begun else self).make_run(split, molecules)
        need_fitting(run, run.begins_at, members=self.config.train.members)
        for sentence in run.notes:
            say(sentence)
        return run

    def _from_checkpoint(self) -> "AlignTask":
        """The task without its pretrained run, for a checkpoint has the weights already.

        That run may be gone by then, or trained on.
        """
        if not self.config.molecules.pretrained:
            return self
        config = self.config.copy_and_resolve_references()
        config.molecules.pretrained = ""
        return dataclasses.replace(self, config=config)

    def keep(self, workdir: pathlib.Path) -> None:
        """Writes `rejected.csv`, `correction.npz` and `screen.json`, of a refit `measured.json`."""
        if self.config.data.refit_of:
            keep_measured(self.config, workdir)
        rejected = self.screen.archive.rejected
        if len(rejected):
            path = workdir / "rejected.csv"
            storage.write_csv(path, rejected)
            say(f"- {len(rejected):,} rows were rejected: {path} has each with its reason")
        with storage.new_file(workdir / "correction.npz") as private:
            self.screen.archive.correction.save(private)
        read = [dict(self.screen.concentration), self.screen.conditions.as_json()]
        told = dict(zip(READ_FIELDS, read, strict=True))
        storage.write_json(workdir / SCREEN_FILE, {**self.screen.provenance, **told})

    def keep_run(self, run: AlignRun, workdir: pathlib.Path) -> None:
        """Writes `splits.csv` and the leakage report, and what made the graphs if there are any."""
        storage.write_csv(workdir / SPLITS_FILE, split_table(self.screen, run.split))
        storage.write_json(workdir / "leakage.json", leakage_report(self.screen, run.split))
        if run.begins_at is not None:
            keep_start(run.begins_at, workdir)
        if self.config.molecules.encoder == "mpnn":
            write_featuriser(
                workdir,
                max_atoms=self.config.molecules.max_atoms,
                convention=convention_of(self.config),
            )

    def keep_model(self, run: AlignRun, params: Any, workdir: pathlib.Path) -> None:
        """Writes `model/`: all that its use needs, and no screen."""
        self.write_model(run, params, workdir, splits=split_table(self.screen, run.split))

    def write_model(
        self,
        run: AlignRun,
        params: Any,
        workdir: pathlib.Path,
        *,
        splits: pd.DataFrame,
        more: Mapping[str, Any] = types.MappingProxyType({}),
    ) -> None:
        """Writes `model/` with these sides of molecules, and `more` on how it was trained."""
        screen, config = self.screen, self.config
        read = [dict(screen.concentration), screen.conditions.as_json()]
        trained = {
            "updates": config.train.steps,
            "members": config.train.members,
            "loss": config.loss.name,
            "seed": config.seed,
            "pairs": len(run.visited),
            "molecules": len(np.unique(screen.molecule[run.visited])),
            **more,
        }
        if run.begins_at is not None:
            trained["start_from"] = pathlib.Path(run.begins_at.named).name
            splits = with_trained(splits, run.begins_at)
        if config.data.refit_of:
            trained["refit_of"] = pathlib.Path(config.data.refit_of).name
        model = run.trained(
            params,
            splits=splits,
            about={
                "screen": {
                    "name": screen.name,
                    **screen.provenance,
                    **dict(zip(READ_FIELDS, read, strict=True)),
                },
                "featuriser": {
                    **featuriser_of(
                        max_atoms=config.molecules.max_atoms, convention=convention_of(config)
                    ),
                    "encoders": encoder_versions(run.blocks),
                },
                "trained": trained,
            },
        )
        more_files = licences_of(config)
        write_alignment(workdir / MODEL_FOLDER, model, config=plain(config), more=more_files)

    def evaluate(self, run: AlignRun, params: Any, out: pathlib.Path) -> Ranks:
        """Ranks of the model and the baselines on every split of one fold."""
        del out
        return rank_run(run, params, self.unseen, features=self.features)

    def conclude(self, results: Sequence[Ranks], workdir: pathlib.Path, out: pathlib.Path) -> None:
        """Pools the folds, writes `evaluation.json` and `report/`, prints the headline table."""
        self.tell(results, workdir, out, metrics=self.metrics(workdir), trained_by=workdir)

    def metrics(self, workdir: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
        """The lines of `metrics.jsonl` of each fold that has them, under the fold's name."""
        folders = [fold_folder(workdir, fold, self.n_folds) for fold in range(self.n_folds)]
        return {
            folder.name if self.n_folds > 1 else "run": list(read_metrics(folder / METRICS_FILE))
            for folder in folders
            if (folder / METRICS_FILE).exists()
        }

    def tell(
        self,
        results: Sequence[Ranks],
        workdir: pathlib.Path,
        out: pathlib.Path,
        *,
        metrics: Mapping[str, Sequence[Mapping[str, Any]]],
        trained_by: pathlib.Path,
    ) -> None:
        """As `conclude`, with these lines of metrics and the run whose command trained it."""
        from molphenix_jax import reporting

        e = self.config.eval
        record = evaluation_record(
            pool(list(results)), n_bootstrap=e.n_bootstrap, seed=self.config.seed
        )
        if len(self.screen.conditions) > 1:
            record["conditions"] = condition_counts(self.screen, tuple(e.psi))
        if self.features.left_out:
            record["left_out"] = dict(self.features.left_out)
        rejected = len(self.screen.archive.rejected)
        facts = screen_facts(self.screen, self.config, rejected=rejected)
        page = reporting.write_report(
            out,
            record,
            metrics,
            title=f"{self.config.loss.name} on {self.screen.name}",
            notes=self.screen.notes,
            about=[
                *facts,
                *soft_positives_fact(self.config, metrics),
                ("trained again by", anew_command(trained_by)),
            ],
            advice=next_steps(self.screen, self.config, record, rejected=rejected),
            molecules=self._molecules(results, out),
        )
        if len(results) > 1:
            storage.write_csv(out / "report" / "folds.csv", pd.DataFrame(by_fold(results)))
        with storage.new_file(out / RANKS_FILE) as private:
            ranks_frame(results).to_parquet(private, index=False)
        if len(graded := graded_frame([ranks.graded for ranks in results])):
            with storage.new_file(out / GRADED_FILE) as private:
                graded.to_parquet(private, index=False)
        # Last: its presence says that the run is finished.
        storage.write_json(out / EVALUATION_FILE, record)
        if self.config.data.refit_of:
            measured = read_measured(workdir)
            say(
                f"every perturbation was trained on, and none is left to test with. Measured on "
                f"{measured['run']}, whose models had not seen the molecules that they were asked "
                "for:"
            )
            record = measured["evaluation"] if not record["results"] else record
        say(reporting.to_text(record, width=max(console.width, TABLE_WIDTH)).rstrip())
        say(f"all splits, pictures and numbers: {page}")

    def _molecules(self, results: Sequence[Ranks], out: pathlib.Path) -> str:
        """Writes `report/molecules.csv`; gives the section of the best and worst molecules."""
        from molphenix_jax import reporting

        psi, table = self.config.eval.psi[0], molecule_table(self.screen, results)
        if not len(table):
            return ""
        storage.write_csv(out / "report" / "molecules.csv", table.drop(columns="perturbation"))
        splits = [self.split(fold) for fold in range(self.n_folds)]
        best, worst = (
            with_neighbours(part, self.screen, splits)
            for part in reporting.best_and_worst(table, psi)
        )
        smiles = pd.concat([best, worst])[["smiles", "nearest_smiles"]].to_numpy().ravel().tolist()
        pictures = dict(zip(smiles, draw(smiles), strict=True))
        return reporting.molecules_section(best, worst, pictures, psi, len(table))
