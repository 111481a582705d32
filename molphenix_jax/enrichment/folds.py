"""Scores fold by fold, each kept as it comes: a command that was killed goes on with the next."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from molphenix_jax import storage
from molphenix_jax.enrichment.hits import Hits
from molphenix_jax.enrichment.methods import MODEL, QUERIES, log_places, scores
from molphenix_jax.errors import InputError
from molphenix_jax.evaluate import load_params
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import CONFIG_FILE, fold_folder, read_json
from molphenix_jax.tasks.align import AlignTask
from molphenix_jax.tasks.align.evaluation import BaselineInputs

FOLDS_FOLDER = "folds"  # below --out, until all folds are scored


@dataclasses.dataclass(frozen=True)
class ScoredFolds:
    """What the folds of a run say of the candidates that they held out.

    Attributes:
        task: Of the run.
        mesh: Devices.
        workdir: Of the run.
        hits: Kinds of hits that are ranked for.
        features: What baselines know of molecules; kept from fold to fold.
        trees: Feature block that the trees take.
        out: Folder of what is written.
    """

    task: AlignTask
    mesh: jax.sharding.Mesh
    workdir: pathlib.Path
    hits: Hits
    features: BaselineInputs
    trees: str
    out: pathlib.Path

    @property
    def _folder(self) -> pathlib.Path:
        return self.out / FOLDS_FOLDER

    def table(self) -> pd.DataFrame:
        """Scores of all folds, the model's by the query that validation molecules choose.

        Returns:
            Columns kind, perturbation, fold, those of the methods, and inchikey, smiles,
            concentration_um and condition of each candidate.

        Raises:
            InputError: No fold has a hit that it did not hold out, or the folds that are kept were
                scored for another table of hits, run or kind of trees.
        """
        self._need_same()
        found, places = [], {query: list[float]() for query in QUERIES}
        for fold in range(self.task.n_folds):
            if not (self._folder / f"{fold}.json").exists():
                self._score(fold)
            told = read_json(self._folder / f"{fold}.json")
            if told["candidates"]:
                found.append(pd.read_parquet(self._folder / f"{fold}.parquet").assign(fold=fold))
            for query, means in told["places"].items():
                places[query] += means
        if not found:
            raise InputError(
                f"--hits: no fold of {self.workdir} has a hit that it did not hold out"
            )
        return self._described(_with_query(pd.concat(found, ignore_index=True), places))

    def remove(self) -> None:
        """Removes what was kept of each fold, once all are in one table."""
        storage.remove(self._folder)

    def _need_same(self) -> None:
        """Stops where the folds that are kept answer another question."""
        path = self._folder / "about.json"
        values = np.nan_to_num(self.hits.value, nan=-1.0).round(9).tolist()
        told = {
            "run": storage.digest_json(read_json(self.workdir / CONFIG_FILE)),
            "hits": storage.digest_json([list(self.hits.names), self.hits.at_least, values]),
            "trees": self.trees,
        }
        if not path.exists():
            storage.write_json(path, told)
        elif read_json(path) != told:
            raise InputError(
                f"{self._folder} has folds that were scored for another table of hits, run or kind "
                "of trees: take another --out, or remove that folder"
            )

    def _score(self, fold: int) -> None:
        folder = fold_folder(self.workdir, fold, self.task.n_folds)
        run, table, places = self.task.run(fold, folder), pd.DataFrame(), {}
        if len(run.split.test):
            _, params = load_params(run, self.task.config, self.mesh, folder, checkpoint=None)
            table = scores(run, params, self.hits, self.features, trees=self.trees)
            places = log_places(run, params, self.hits)
        if len(table):
            with storage.new_file(self._folder / f"{fold}.parquet") as private:
                table.to_parquet(private, index=False)
        means = {query: [float(of.mean()) for of in kinds] for query, kinds in places.items()}
        # Last: its presence says that the fold is scored.
        told = {"candidates": len(table), "places": means}
        storage.write_json(self._folder / f"{fold}.json", told)
        if self.task.n_folds > 1:
            say(f"- fold {fold + 1} of {self.task.n_folds} is scored")

    def _described(self, table: pd.DataFrame) -> pd.DataFrame:
        screen, ids = self.task.screen, table["perturbation"].to_numpy()
        molecules = screen.molecules.iloc[screen.molecule[ids]]
        more: dict[str, Any] = {
            name: molecules[name].to_numpy(str) for name in ("inchikey", "smiles")
        }
        more["concentration_um"] = screen.concentration_um[ids].astype(np.float64)
        more["condition"] = np.array(screen.conditions.labels)[screen.condition[ids]]
        return table.assign(**more)


def _with_query(table: pd.DataFrame, places: dict[str, list[float]]) -> pd.DataFrame:
    """The model's scores by the query that puts validation hits first, in the mean of all."""
    means = {query: float(np.mean(of)) for query, of in places.items() if of}
    best = min(means, key=lambda query: means[query], default=QUERIES[0])
    told = ", ".join(f"{query} {mean:.3f}" for query, mean in means.items())
    say(f"- the query is the {best} of the known hits (mean log place of validation hits: {told})")
    return table.rename(columns={best: MODEL}).drop(columns=[q for q in QUERIES if q != best])
