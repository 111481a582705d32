"""What `molphenix ablate` does: plans, runs its part, and writes the tables of what is finished."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import molphenix_jax
from molphenix_jax import storage, tasks
from molphenix_jax.ablations import grid, page
from molphenix_jax.ablations.grid import Ablation, AblationError, Tier
from molphenix_jax.ablations.judging import faults, judge
from molphenix_jax.ablations.running import (
    Planned,
    need_same_inputs,
    note_inputs,
    part_of,
    plan,
    run_here,
    run_in_processes,
    tell_cost,
)
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE

TABLE_FILE = "table.json"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        names: Ablations; empty with a report alone.
        tier: Name of the tier.
        workdir: Folder of all runs and tables.
        inputs: Name → file.
        fields: Config field → value as a text, of every run.
        doses: Held-out concentrations in µM; None takes the tier's.
        seeds: Runs of each row; None takes the tier's.
        rows: Which of the rows of each ablation; empty takes all.
        shard: Which part of how many, (i, n).
        processes: Runs at a time.
        dry_run: Whether to say what there is and run nothing.
        report: Page of the paper's claims, if any.
    """

    names: Sequence[str]
    tier: str
    workdir: pathlib.Path
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    doses: tuple[float, ...] | None = None
    seeds: int | None = None
    rows: tuple[str, ...] = ()
    shard: tuple[int, int] = (1, 1)
    processes: int = 1
    dry_run: bool = False
    report: pathlib.Path | None = None

    def arguments(self) -> list[str]:
        """The command line of a part of it, without `--shard`, `--processes` and `--report`."""
        given = ["ablate", *self.names, f"--tier={self.tier}", f"--workdir={self.workdir}"]
        given += [f"--input={name}={file}" for name, file in self.inputs.items()]
        given += [f"--set={name}={value}" for name, value in self.fields.items()]
        return [*given, *self.runs()]

    def runs(self) -> list[str]:
        """Of the command line, what says other doses, seeds and rows than tier and ablation."""
        given = []
        if self.doses is not None:
            given.append(f"--doses={','.join(f'{dose:g}' for dose in self.doses)}")
        if self.seeds is not None:
            given.append(f"--seeds={self.seeds}")
        if self.rows:
            given.append(f"--rows={','.join(self.rows)}")
        return given


def ablate(request: Request) -> int:
    """Runs what is asked for and not finished; writes tables, figures and the report.

    Returns:
        Exit status: 1 where a run failed, or the tier smoke found a fault.

    Raises:
        AblationError: What is asked for cannot be.
    """
    need_files(request.inputs)
    if request.report:
        if request.tier == "smoke":
            raise AblationError("--report: a model of the tier smoke learns nothing to judge by")
        page.need_page(request.report)
    tier, inputs = tier_of(request), dict(request.inputs)
    ablations = [grid.only(grid.load(name, request.tier), request.rows) for name in request.names]
    files = {name: str(pathlib.Path(file).absolute()) for name, file in inputs.items()}
    told = {"tier": request.tier, "inputs": files, "set": dict(request.fields)}
    if ablations:
        need_same_inputs(request.workdir, told)
    grid.need_inputs(ablations, tier, inputs, request.fields)
    for ablation in ablations:
        grid.need_unvaried(ablation, tier, inputs, request.fields)
    planned = {
        a.name: plan(grid.cells(a, tier), tier, inputs, request.fields, request.workdir)
        for a in ablations
    }
    for ablation in ablations:
        for row in ablation.rows:
            if why := grid.why_skipped(row, tier, inputs):
                say(f"SKIP {ablation.name}/{row.name}: {why}")
    if request.report:
        for ablation in ablations:
            of_it = planned[ablation.name]
            about = {"name": ablation.name, **_about(ablation, request, tier, of_it)}
            page.need_room(request.report, about, {each.cell.row.name for each in of_it})
    mine = part_of([each for of in planned.values() for each in of], request.shard)
    if ablations and not any(planned.values()):
        say("every row is skipped: nothing is measured")
        return 1
    if ablations:
        tell_cost(mine, tier, request.workdir, request.processes)
    if request.dry_run:
        return 0
    bad = False
    if ablations:
        note_inputs(request.workdir, told)
        if request.processes > 1:
            bad = not run_in_processes(request.arguments(), request.shard, request.processes)
        else:
            bad = bool(run_here(mine))
    tables = []
    for ablation in ablations:
        now = [_as_it_is(each) for each in planned[ablation.name]]
        unfinished = sum(not each.finished for each in now)
        if unfinished:
            say(f"{ablation.name}: {unfinished} of {len(now)} runs are not finished")
        if not unfinished or request.shard == (1, 1):
            about = _about(ablation, request, tier, now)
            table = judge(ablation, now, tier, inputs, about=about)
            write_table(table, request.workdir / ablation.name)
            tables.append(table)
    if request.tier == "smoke":
        for sentence in (found := [fault for table in tables for fault in faults(table)]):
            say(f"fault: {sentence}")
        bad = bad or bool(found)
    if request.report:
        page.write(request.report, tables)
        say(f"the paper's claims: {request.report}")
    return int(bad)


def tier_of(request: Request) -> Tier:
    """The tier with the seeds and doses that were asked for."""
    tier = grid.TIERS[request.tier]
    return dataclasses.replace(
        tier,
        seeds=request.seeds or tier.seeds,
        doses=tier.doses if request.doses is None else request.doses,
    )


def need_files(inputs: Mapping[str, str]) -> None:
    """Stops where a file that was given is not there.

    Raises:
        AblationError: Names it.
    """
    for name, file in inputs.items():
        paths = [file] if pathlib.Path(file).exists() else file.split("+")
        for path in paths:
            if not pathlib.Path(path).exists():
                raise AblationError(f"--input={name}={file}: there is no {path}")


def write_table(table: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Writes `table.json`, `.csv`, `.md`, and the figures."""
    from molphenix_jax.reporting import ablations as reporting

    storage.write_json(folder / TABLE_FILE, table)
    storage.write_text(folder / "table.md", reporting.ablation_markdown(table))
    if table["results"]:
        storage.write_csv(folder / "table.csv", reporting.ablation_frame(table))
        for name, figure in (
            ("figure", reporting.ablation_figure(table)),
            ("samples_seen", reporting.curve_figure(table)),
        ):
            with storage.new_file(folder / f"{name}.png") as private:
                figure.savefig(private, format="png", dpi=150)
    say(f"{table['name']}: {folder / 'table.md'}")


def all_names() -> list[str]:
    """The ablations of the paper."""
    return [ablation.name for ablation in grid.of_paper("small")]


def listing() -> list[str]:
    """A line for each ablation of the program."""
    found = [grid.load(name, "small") for name in grid.names()]
    return [f"{a.name}: {a.title} ({a.paper}), {len(a.rows)} rows" for a in found]


def _as_it_is(each: Planned) -> Planned:
    return dataclasses.replace(each, finished=(each.folder / EVALUATION_FILE).exists())


def _about(
    ablation: Ablation, request: Request, tier: Tier, planned: Sequence[Planned]
) -> dict[str, Any]:
    """What a reader of the table asks first."""
    if not planned:
        data = "no run: every row is skipped"
    elif "wells" in request.inputs:
        data = pathlib.Path(request.inputs["wells"]).name
    else:
        screens = [each.config.data.simulated for each in planned]
        sizes = sorted({screen.n_molecules for screen in screens})
        data = f"built-in screen of {' or '.join(f'{n:,}' for n in sizes)} molecules"
        sources = sorted({pathlib.Path(of.molecules).name for of in screens if of.molecules})
        data += f" of {', '.join(sources)}" if sources else ""
    if ablation.heldout:
        doses = ", ".join(f"{dose:g}" for dose in tier.doses)
        data += f", {doses} µM held out, a run each"
    given = [f"--input {name}=FILE" for name in request.inputs]
    # A path of this machine says nothing elsewhere.
    files = {field for each in planned for field in tasks.spec_of(each.config.task).paths}
    given += [
        f"--set {name}={'FILE' if name in files else value}"
        for name, value in request.fields.items()
    ]
    given += request.runs()
    command = ["molphenix ablate", ablation.name, f"--tier={request.tier}", *given, "--workdir=DIR"]
    seconds = [page.seconds_of(each.record) for each in planned]
    return {
        "tier": request.tier,
        "n_seeds": tier.seeds,
        "data": data,
        "command": " ".join(command),
        "version": molphenix_jax.__version__,
        "seconds": round(sum(seconds)),
    }
