"""Alignment on several screens: prepared one by one, split by molecule across all, learned at once.

`RUN/screens/NAME/` reads as a finished run's folder: config, splits, model, evaluation, report.
"""

import dataclasses
import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from molphenix_jax import storage
from molphenix_jax.evaluation import Ranks
from molphenix_jax.models import ConcentrationEncoding
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.checkpointing import saved_steps
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE, read_json, write_claim
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.split_lists import MoleculeListError
from molphenix_jax.screens.splits import split_table
from molphenix_jax.screens.versions import versions_of
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.tasks.align.making import make, split_together
from molphenix_jax.tasks.align.several.run import SeveralRun
from molphenix_jax.tasks.align.several.shared import by_dose, own_doses
from molphenix_jax.tasks.align.task import AlignTask
from molphenix_jax.tasks.align.training.assets import fit_inputs
from molphenix_jax.tasks.align.training.start import start_inputs
from molphenix_jax.tasks.align.training.tables import GIB
from molphenix_jax.tasks.align.training.visits import make_visits
from molphenix_jax.tasks.named_screens import named_screens, rows_of, shares_of
from molphenix_jax.trained.folder import SCREENS_FOLDER

_SIDES = ("inchikey", "smiles", "split")


@dataclasses.dataclass(frozen=True)
class SeveralTask:
    """Tasks of the screens by name; those without a share take part in the split alone."""

    config: Config
    tasks: Mapping[str, AlignTask]
    shares: Mapping[str, float]

    evaluates_in_shares = True

    @property
    def n_folds(self) -> int:
        """Number of runs."""
        return self.config.data.folds * self.config.data.repeats

    @property
    def learned(self) -> dict[str, AlignTask]:
        """The screens that are learned."""
        return {name: task for name, task in self.tasks.items() if self.shares[name]}

    def run(self, fold: int, workdir: pathlib.Path) -> SeveralRun:
        """The run whose unseen molecules are fold `fold`."""
        begun, runs, doses = bool(saved_steps(workdir)), {}, {}
        visited = {}
        for name, task in self.learned.items():
            visits = make_visits(task.config, task.screen, task.split(fold), task.mesh.devices.size)
            visited[name] = (task.screen, visits.pairs)
        starts = [
            start_inputs(
                task.config,
                task.screen,
                task.split(fold),
                fold=fold,
                workdir=self._place(workdir, name),
            )
            for name, task in self.learned.items()
        ]
        together = starts[0] or fit_inputs(list(visited.values()), self.config)
        for name, task in self.learned.items():
            say(f"screen {name}, {self.shares[name]:.3g} of the loss:")
            screen, pairs = visited[name]
            encoding, doses[name] = own_doses(together.encoding, screen.concentration_um[pairs])
            runs[name] = task.run_of(
                task.split(fold),
                self._place(workdir, name),
                begun=begun,
                molecules=together._replace(encoding=encoding),
            )
        return SeveralRun(runs, self.shares, doses)

    def keep(self, workdir: pathlib.Path) -> None:
        """Writes what each screen was computed from, and the config of those that are learned."""
        for name, task in self.tasks.items():
            folder = workdir / SCREENS_FOLDER / name
            if self.shares[name]:
                write_claim(folder, task.config)
            task.keep(folder)

    def keep_run(self, run: SeveralRun, workdir: pathlib.Path) -> None:
        """Writes the split of each screen."""
        for name, of in run.runs.items():
            self.tasks[name].keep_run(of, self._place(workdir, name))

    def keep_model(self, run: SeveralRun, params: Any, workdir: pathlib.Path) -> None:
        """Writes the model of each screen."""
        tables = {name: split_table(of.screen, of.split) for name, of in run.runs.items()}
        for name, of in run.runs.items():
            self.tasks[name].write_model(
                of,
                run.of_screen(params, name),
                self._place(workdir, name),
                splits=_with_others(tables, name),
                more={"screens": {name: self.shares[name] for name in tables}},
            )

    def evaluate(self, run: SeveralRun, params: Any, out: pathlib.Path) -> dict[str, Ranks]:
        """Ranks of the model and the baselines on every split of each screen."""
        return {
            name: self.tasks[name].evaluate(of, run.of_screen(params, name), out)
            for name, of in run.runs.items()
        }

    def conclude(
        self, results: Sequence[dict[str, Ranks]], workdir: pathlib.Path, out: pathlib.Path
    ) -> None:
        """Writes evaluation and report of each screen and what they are together."""
        from molphenix_jax.reporting.page import html_page

        records, links = {}, []
        for name, task in self.learned.items():
            folder = out / SCREENS_FOLDER / name
            say(f"screen {name}:")
            task.tell(
                [of[name] for of in results],
                workdir / SCREENS_FOLDER / name,
                folder,
                metrics={
                    fold: [_of_screen(line, name, self.learned) for line in lines]
                    for fold, lines in task.metrics(workdir).items()
                },
                trained_by=workdir,
            )
            records[name] = read_json(folder / EVALUATION_FILE)
            target = f"../{SCREENS_FOLDER}/{name}/report/index.html"
            links.append(f'<li><a href="{target}">{html.escape(name)}</a></li>')
        title = f"{self.config.loss.name} on {', '.join(self.learned)}"
        body = [f"<h1>{html.escape(title)}</h1>", "<p>A report for each screen:</p>"]
        page = html_page(title, [*body, f"<ul>{''.join(links)}</ul>"])
        storage.write_text(out / "report" / "index.html", page)
        # Last: its presence says that the run is finished.
        storage.write_json(out / EVALUATION_FILE, {SCREENS_FOLDER: records})

    def _place(self, workdir: pathlib.Path, name: str) -> pathlib.Path:
        """Where a screen keeps its files of one fold; `workdir` is the folder of the fold."""
        if self.n_folds > 1:
            return workdir.parent / SCREENS_FOLDER / name / workdir.name
        return workdir / SCREENS_FOLDER / name


def make_several(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> SeveralTask:
    """Prepares the screens that `data.wells` names, each as a run of its own would.

    Raises:
        ScreenError: One cannot be used, or they do not fit together; names it.
    """
    made, rows = {}, rows_of(config)
    memory = config.data.device_memory_gib or meshes.memory_per_device(mesh) / GIB
    for name, files in named_screens(config.data.wells).items():
        own = config.copy_and_resolve_references()
        own.data.update(wells=files, shares="", device_memory_gib=memory / len(rows))
        own.train.batch_size = rows[name] or config.train.batch_size
        if config.data.refit_of:
            own.data.refit_of = str(pathlib.Path(config.data.refit_of) / SCREENS_FOLDER / name)
        say(f"screen {name}:")
        try:
            task = make(own, mesh, workdir / SCREENS_FOLDER / name)
        except (WellsError, ScreenError, MoleculeListError) as error:
            raise ScreenError(f"screen {name} of data.wells: {error}") from error
        screen = dataclasses.replace(task.screen, name=name)
        made[name] = dataclasses.replace(task, screen=screen)
    screens = {name: task.screen for name, task in made.items()}
    _need_alike(screens, config)
    sides = [task.together[0][2] for task in made.values()]
    together = split_together(list(screens.values()), config, sides)
    tasks = {name: dataclasses.replace(task, together=together) for name, task in made.items()}
    _tell_of_shared(screens)
    return SeveralTask(config, tasks, shares_of(config))


def _need_alike(screens: Mapping[str, Screen], config: Config) -> None:
    """Stops where one molecule side cannot serve all screens.

    Raises:
        ScreenError: Their molecules were featurised otherwise, or their doses have nothing in
            common.
    """
    first, *others = screens
    kind = config.model.concentration
    for name in others:
        was, now = (versions_of(screens[of].provenance)["featuriser"] for of in (first, name))
        if was != now:
            raise ScreenError(
                f"screens {first} and {name} have molecule features of different versions of the "
                f"program ({was}, {now}): prepare both anew with `molphenix prepare`"
            )
    if kind == "none":
        return
    told = {name: screen.concentration.get("column", "?") != "" for name, screen in screens.items()}
    if any(told.values()) and not all(told.values()):
        without, with_ = (next(n for n in screens if told[n] is has) for has in (False, True))
        raise ScreenError(
            f"screen {without} has no column of concentrations (its wells would count as "
            f"{screens[without].concentration_um[0]:g} µM) and {with_} has: add a column "
            f"concentration_um to the wells of {without}, or set model.concentration=none"
        )
    grids = {name: np.unique(screen.concentration_um) for name, screen in screens.items()}
    together = ConcentrationEncoding.fit(np.concatenate(list(grids.values())), kind=kind)
    if not by_dose(together):
        return
    for name, grid in grids.items():
        rest = np.concatenate([of for other, of in grids.items() if other != name])
        if len(grids) > 1 and ConcentrationEncoding.fit(grid, kind=kind).off_grid(rest).all():
            doses = ", ".join(f"{dose:g}" for dose in grid[:6])
            raise ScreenError(
                f"screen {name} has no dose in common with the others ({doses} µM), and "
                f"model.concentration={kind} tells doses by name alone: set "
                "model.concentration=log (or sigmoid)"
            )


def _tell_of_shared(screens: Mapping[str, Screen]) -> None:
    """Says how many molecules are in more than one screen."""
    keys = pd.concat([pd.Series(s.molecules["inchikey"].unique()) for s in screens.values()])
    n = keys.value_counts()
    say(
        f"{len(screens)} screens with {len(n):,} molecules, {int((n > 1).sum()):,} of them in more "
        "than one; they are split by molecule across all"
    )


def _with_others(tables: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """The sides of a screen's molecules, and of those that only other screens have."""
    others = [table.reindex(columns=_SIDES) for of, table in tables.items() if of != name]
    every = pd.concat([tables[name], *others], ignore_index=True).fillna("")
    of_others = np.arange(len(every)) >= len(tables[name])
    repeated = every.duplicated("inchikey").to_numpy()
    return every.iloc[np.flatnonzero(~(of_others & repeated))]


def _of_screen(line: Mapping[str, Any], name: str, screens: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics as a run of one screen alone would have it."""
    own = {field: value for field, value in line.items() if field.partition("/")[0] not in screens}
    mine = f"{name}/"
    return own | {
        field.removeprefix(mine): value for field, value in line.items() if field.startswith(mine)
    }
