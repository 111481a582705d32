"""Property pretraining as of MolGPS: an encoder learns what is known of many molecules.

Sources: docs/method.md §10.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from molphenix_jax import storage
from molphenix_jax.evaluation import (
    PROPERTY_BASELINES,
    PROPERTY_METRICS,
    predict_property,
    property_results,
)
from molphenix_jax.molecules import shipped_smiles
from molphenix_jax.molecules.graphs import MolecularGraph
from molphenix_jax.runtime.config import Config, listed, plain
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.checkpointing import saved_steps
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.splits import SPLITS_FILE, fold_of, molecule_groups, need_same_split
from molphenix_jax.tasks.molecule_encoder import (
    convention_of,
    features_of,
    featuriser_of,
    graphs_of,
    licences_of,
    need_same_featuriser,
    write_featuriser,
)
from molphenix_jax.tasks.property_pretraining.labels import (
    LabelGroup,
    Labels,
    LabelsError,
    computed_labels,
    read_labels,
)
from molphenix_jax.tasks.property_pretraining.run import PropertyRun, PropertySplit
from molphenix_jax.trained.encoders.molecule_encoder import write_property_model
from molphenix_jax.trained.folder import MODEL_FOLDER

MODEL, CELLS = "mpnn", "cell_count"


@dataclasses.dataclass(frozen=True)
class PropertyTask:
    """Labelled molecules with their graphs; one split, one model."""

    config: Config
    labels: Labels
    graphs: Sequence[MolecularGraph]
    blocks: Mapping[str, np.ndarray]
    groups: np.ndarray
    mesh: jax.sharding.Mesh
    n_folds: int = 1

    evaluates_in_shares = False

    def run(self, fold: int, workdir: pathlib.Path) -> PropertyRun:
        """The run; a part of the molecules is unseen."""
        d, rng = self.config.data, np.random.default_rng(self.config.data.split_seed)
        ids = np.arange(len(self.graphs))
        is_test = fold_of(self.groups, round(1 / d.test_fraction), rng) == fold
        rest = ids[~is_test]
        is_validation = fold_of(self.groups[rest], round(1 / d.validation_fraction), rng) == 0
        split = PropertySplit(rest[~is_validation], rest[is_validation], ids[is_test])
        need_same_split(workdir / SPLITS_FILE, self._table(split))
        say(
            f"split by {d.split}: {len(split.train):,} training molecules, "
            f"{len(split.validation):,} validation, {len(split.test):,} of unseen groups"
        )
        blocks = list(self.blocks.values())
        config = self.config
        if saved_steps(workdir):  # the checkpoint has the weights; what they come from may be gone
            config = config.copy_and_resolve_references()
            config.model.pretrained = ""
        return PropertyRun(config, self.labels, self.graphs, blocks, split, self.mesh)

    def _table(self, split: PropertySplit) -> pd.DataFrame:
        side = np.empty(len(self.graphs), object)
        for name, rows in zip(("train", "validation", "unseen_molecules"), split, strict=True):
            side[rows] = name
        return self.labels.molecules[["inchikey", "smiles"]].assign(split=side)

    def keep(self, workdir: pathlib.Path) -> None:
        """Writes `rejected.csv` and `featuriser.json`."""
        write_featuriser(
            workdir,
            max_atoms=self.config.data.max_atoms,
            convention=convention_of(self.config),
        )
        rejected = self.labels.rejected
        if len(rejected):
            path = workdir / "rejected.csv"
            storage.write_csv(path, rejected)
            say(f"- {len(rejected):,} rows were rejected: {path} has each with its reason")

    def keep_run(self, run: PropertyRun, workdir: pathlib.Path) -> None:
        """Writes `splits.csv`."""
        storage.write_csv(workdir / SPLITS_FILE, self._table(run.split))

    def keep_model(self, run: PropertyRun, params: Any, workdir: pathlib.Path) -> None:
        """Writes `model/`: the encoder, the heads, and the statistics of the labels."""
        assets = run.assets
        statistics = {"mean": assets.label_mean, "std": assets.label_std}
        groups = [
            {"name": g.name, "level": g.level, "loss": g.loss, "columns": list(g.columns)}
            for g in self.labels.groups
        ]
        write_property_model(
            workdir / MODEL_FOLDER,
            run.model.encoder,
            {
                "params": jax.tree.map(np.asarray, params)["params"],
                "labels": statistics,
                "blocks": dict(assets.blocks._asdict()),
            },
            about={
                "featuriser": featuriser_of(
                    max_atoms=self.config.data.max_atoms, convention=convention_of(self.config)
                ),
                "labels": groups,
                "trained": {
                    "updates": self.config.train.steps,
                    "members": self.config.train.members,
                    "molecules": len(run.split.train),
                },
            },
            config=plain(self.config),
            fill=licences_of(self.config),
        )

    def evaluate(self, run: PropertyRun, params: Any, out: pathlib.Path) -> dict[str, Any]:
        """Rows of the evaluation: means over all labels, and the chosen ones beside baselines."""
        del out
        e, split = self.config.eval, run.split
        predictions = run.predict(params, split.test)
        results, comparisons, missing = [], [], []
        for g in self.labels.groups:
            results += _mean_rows(run, g, predictions[g.name])
        for g in self.labels.groups:
            for k, column in enumerate(g.columns):
                if not re.search(e.targets, column):
                    continue
                common = {"split": "unseen_molecules", "target": column}
                if g.level == "node":
                    missing.append({**common, "reason": "baselines have no labels of atoms"})
                    continue
                scores = {MODEL: predictions[g.name][:, k], **self._baselines(run, g, k)}
                for target, label in self._asked(run, g, k).items():
                    told = {**common, "target": target}
                    if g.loss == "bce" and len(np.unique(label[np.isfinite(label)])) < 2:
                        missing.append({**told, "reason": "all molecules are of one kind"})
                        continue
                    rows, compared = property_results(
                        label,
                        scores,
                        self.groups[split.test],
                        loss=g.loss,
                        model=MODEL,
                        n_bootstrap=e.n_bootstrap,
                        seed=self.config.seed,
                    )
                    results += [{**told, **row} for row in rows]
                    comparisons += [{**told, **row} for row in compared]
        return {"results": results, "comparisons": comparisons, "not_computed": missing}

    def _cells(self) -> Float[np.ndarray, " m"] | None:
        """Share of the controls' cells that each molecule leaves; None where none were counted."""
        share = self.labels.molecules.get("cell_share")
        return None if share is None or share.isna().all() else share.to_numpy(np.float64)

    def _asked(self, run: PropertyRun, g: LabelGroup, k: int) -> dict[str, Float[np.ndarray, " n"]]:
        """Target → labels of the unseen molecules, NaN for those that it does not ask for.

        Where cells were counted, a label of two kinds is asked a second time among molecules that
        leave enough of them.
        """
        label, column, cells = g.values[run.split.test, k], g.columns[k], self._cells()
        if cells is None or g.loss != "bce":
            return {column: label}
        alive = cells[run.split.test] >= self.config.eval.toxic_below
        return {column: label, f"{column}, not toxic": np.where(alive, label, np.nan)}

    def _baselines(self, run: PropertyRun, g: LabelGroup, k: int) -> dict[str, np.ndarray]:
        label, split = g.values[:, k], run.split
        score = next(iter(PROPERTY_METRICS[g.loss].values()))
        train, validation = (
            side[np.isfinite(label[side])] for side in (split.train, split.validation)
        )
        found = {}
        for name in listed(self.config.eval.baselines):
            block = PROPERTY_BASELINES[name][0]
            x = self.blocks.get(block)
            if x is None:
                smiles = self.labels.molecules["smiles"].tolist()
                x = features_of(smiles, block, cache=storage.cache_folder(self.config.data.cache))
            say(f"baseline {name} of {g.columns[k]}")
            found[name] = predict_property(
                name,
                train=(x[train], label[train]),
                validation=(x[validation], label[validation]),
                test=x[split.test],
                binary=g.loss == "bce",
                score=score,
                seed=self.config.seed,
            )
        cells = self._cells()
        if cells is not None and g.loss == "bce":  # toxicity, without a look at the structure
            known = np.where(np.isfinite(cells), cells, np.nanmedian(cells))
            found[CELLS] = -known[split.test]
        return found

    def conclude(
        self, results: Sequence[dict[str, Any]], workdir: pathlib.Path, out: pathlib.Path
    ) -> None:
        """Writes `evaluation.json` and `report/`, prints the table."""
        from molphenix_jax import reporting

        (record,) = results
        metrics = list(read_metrics(workdir / METRICS_FILE))
        name = self.config.data.labels or "computed properties"
        page = reporting.write_property_report(
            out, record, metrics, title=f"Property pretraining on {pathlib.Path(name).name}"
        )
        # Last: its presence says that the run is finished.
        storage.write_json(out / EVALUATION_FILE, record)
        say(reporting.property_text(record).rstrip())
        say(f"the page of the run: {page}")


def _mean_rows(run: PropertyRun, g: LabelGroup, predicted: Float[np.ndarray, "n k"]) -> list[dict]:
    """Mean of each metric over the labels of a group, on the unseen molecules."""
    labels = run.labels_of(g, run.split.test)
    rows = []
    for metric, function in PROPERTY_METRICS[g.loss].items():
        values = []
        for k in range(len(g.columns)):
            known = np.isfinite(labels[:, k])
            if known.sum() > 1:
                values.append(function(labels[known, k], predicted[known, k]))
        values = [v for v in values if np.isfinite(v)]
        if values:
            rows.append(
                {
                    "split": "unseen_molecules",
                    "target": f"mean of {len(values)} labels ({g.name})",
                    "metric": metric,
                    "model": MODEL,
                    "value": float(np.mean(values)),
                    "ci": None,
                    "n": len(run.split.test),
                    "n_positive": None,
                }
            )
    return rows


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> PropertyTask:
    """Reads the labels and makes the graphs.

    Raises:
        LabelsError: Label tables that cannot be used.
    """
    d = config.data
    cache = storage.cache_folder(d.cache)
    convention = convention_of(config)
    computed = bool(not d.labels or config.model.head_blocks)
    need_same_featuriser(workdir, features=computed, convention=convention)
    if d.labels:
        say(f"reading {d.labels}")
        labels = read_labels(
            listed(d.labels),
            smiles_column=d.smiles_column,
            columns=d.columns,
            losses=tuple((str(pattern), str(loss)) for pattern, loss in d.losses),
            cache=cache,
        )
    else:
        smiles = shipped_smiles()[: d.n_computed or None]
        labels = computed_labels(smiles, blocks=listed(d.computed))
    smiles = labels.molecules["smiles"].tolist()
    say(f"graphs of {len(smiles):,} molecules")
    graphs, too_large = graphs_of(smiles, max_atoms=d.max_atoms, convention=convention, cache=cache)
    for note in labels.notes:
        say(f"- {note}")
    labels = _keep(labels, graphs, too_large)
    kept = [graph for graph in graphs if graph is not None]
    if not kept:
        raise LabelsError(f"data.max_atoms={d.max_atoms} leaves none of {len(smiles)} molecules")
    _check_atoms(labels, kept)
    for g in labels.groups:
        say(f"- {g.name}: {len(g.columns):,} labels, e.g. {', '.join(g.columns[:3])}")
    groups = molecule_groups(labels.molecules, method=d.split, butina_cutoff=d.butina_cutoff)
    names = listed(config.model.head_blocks)
    smiles = labels.molecules["smiles"].tolist()
    blocks = {name: features_of(smiles, name, cache=cache) for name in names}
    return PropertyTask(config, labels, kept, blocks, groups, mesh)


def _keep(labels: Labels, graphs: Sequence[Any], too_large: pd.DataFrame) -> Labels:
    """Labels of the molecules that have a graph; the others join the rejected rows."""
    rows = np.array([i for i, graph in enumerate(graphs) if graph is not None], int)
    if len(rows) == len(graphs):
        return labels
    place = labels.molecules.iloc[too_large["row"].to_numpy(int)][["file", "row", "field"]]
    rejected = place.assign(
        value=too_large["value"].to_numpy(), reason=too_large["reason"].to_numpy()
    )
    groups = tuple(
        dataclasses.replace(
            g,
            values=g.values[rows] if g.level == "graph" else [g.values[i] for i in rows],
        )
        for g in labels.groups
    )
    return dataclasses.replace(
        labels,
        molecules=labels.molecules.iloc[rows].reset_index(drop=True),
        groups=groups,
        rejected=pd.concat([labels.rejected, rejected], ignore_index=True),
    )


def _check_atoms(labels: Labels, graphs: Sequence[MolecularGraph]) -> None:
    """Labels of atoms are as many as the atoms.

    Raises:
        LabelsError: They are not; names the molecule.
    """
    for g in labels.groups:
        if g.level == "graph":
            continue
        for i, graph in enumerate(graphs):
            if g.values[i] is not None and len(g.values[i]) != graph.n_nodes:
                raise LabelsError(
                    f"{labels.molecules['smiles'].iloc[i]!r} has {graph.n_nodes} atoms and "
                    f"{len(g.values[i])} values of {g.columns[0]}: labels of atoms come in the "
                    "order of the SMILES, hydrogens not counted"
                )
