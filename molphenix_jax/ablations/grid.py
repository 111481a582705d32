"""What an ablation is: rows × held-out doses × seeds, as a file of `configs/ablations/` says it.

Such a file has `get_ablation(tier)`. A tier says how large everything is; a row says what differs.
"""

import dataclasses
import importlib.util
import pathlib
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from molphenix_jax import tasks
from molphenix_jax.errors import InputError
from molphenix_jax.runtime.config import Config, config_file, packaged

FOLDER = "ablations"  # in configs/
LEFT_OUT = "left out by --rows"
_SHIPPED = 5_000  # molecules that the program brings are fewer
JUDGED, GRADED = "top_1pct", "ndcg"  # what claims are judged by: recall, or graded relevance


class AblationError(InputError):
    """An ablation that cannot be run; the message names the file, the row and the remedy."""


@dataclasses.dataclass(frozen=True)
class Tier:
    """How large the runs of an ablation are.

    Attributes:
        size: Argument `size` of the configs.
        fields: Config fields of every run.
        seeds: Runs of each row that differ in their seed.
        doses: Concentrations in µM that are held out, one at a time, where an ablation does so.
        seconds: What a run takes on one CPU core, as long as none was measured.
        megabytes: What it leaves on disk.
        needs: Inputs that it cannot do without.
    """

    size: str
    fields: Mapping[str, Any]
    seeds: int
    doses: tuple[float, ...]
    seconds: float
    megabytes: float
    needs: tuple[str, ...] = ()


# The table of an ablation has intervals of its own; a run is not trained on.
_KEPT = {"eval.n_bootstrap": 100, "train.keep_checkpoints": 1}
TIERS: dict[str, Tier] = {
    # Learns nothing: shows that every field reaches the model, and that all numbers are finite.
    "smoke": Tier("tiny", _KEPT, seeds=1, doses=(10.0,), seconds=10, megabytes=2),
    # 1,000 molecules of the built-in screen, one member.
    "small": Tier(
        "small",
        {"data.simulated.n_molecules": 1_000, "train.members": 1, **_KEPT},
        seeds=3,
        doses=(1.0, 10.0),
        seconds=24,
        megabytes=22,
    ),
    # 30,000 molecules, half again as many silent ligands, two batches with a fifth of the wells
    # missing: 1.6 replicates of a pair. Needs --set data.simulated.molecules=FILE, or wells.
    "decide": Tier(
        "small",
        {
            "data.simulated.n_molecules": 30_000,
            "data.simulated.silent_rate": 0.6,
            "data.simulated.n_experiments": 2,
            "data.simulated.failed_rate": 0.2,
            "data.simulated.concentrations_um": (0.3, 1.0, 3.0, 10.0),
            "train.members": 1,
            "train.steps": 3_000,
            "train.warmup_steps": 300,
            # Twenty points of a curve; at every 50 updates they took longer than the updates.
            "train.validate_every": 150,
            # Neighbours among 70,000 training pairs would take longer than all else.
            "eval.baselines": "physchem,dose_only,source_only",
            **_KEPT,
        },
        seeds=3,
        doses=(1.0, 10.0),
        seconds=420,
        megabytes=77,
    ),
    # The paper's: 38.7M parameters, 20,000 batches of 512, 3 seeds, 7 held-out doses
    # (docs/method.md §4, §14 row 22). 4.75 h on one A100 each.
    "full": Tier(
        "paper",
        _KEPT,
        seeds=3,
        doses=(0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0),
        seconds=17_100,
        megabytes=1_500,
        needs=("wells",),
    ),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: Of its folder.
        label: As the table shows it.
        fields: Config field → value; `{NAME}` in a text stands for the input of that name.
        config: The config file that it starts from.
        arg: Argument of that config beside `size` and `wells`; `{NAME}` as in `fields`.
        needs: Inputs without which it is skipped.
        skip: Why it cannot be run at all; empty if it can.
    """

    name: str
    label: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: str = "s2l"
    arg: str = ""
    needs: tuple[str, ...] = ()
    skip: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the paper says, and the differences that it is judged by.

    Attributes:
        text: The claim.
        paper: The paper's number, or "lost".
        contrasts: Pairs of rows: the first is said to be better.
        subset: The queries it speaks of: active or all.
        metric: What it is judged by: a name of `METRICS`, or `GRADED`.
        reading: What of docs/method.md §14, or of the data, it depends on.
    """

    text: str
    paper: str
    contrasts: tuple[tuple[str, str], ...]
    subset: str = "active"
    metric: str = JUDGED
    reading: str = ""


@dataclasses.dataclass(frozen=True)
class Ablation:
    """A table of the paper.

    Attributes:
        title: Of the table.
        paper: Which tables and figures of the paper it stands for.
        rows: What is compared.
        reference: Name of the row that the others are compared with.
        fields: Config fields of every row, beneath the row's own.
        heldout: Whether a dose is held out, a run for each dose of the tier, and recall is that at
            these doses.
        margin: Difference in top-1% recall, as a share, that is none: where the whole interval lies
            within, two rows are called equivalent.
        claims: What the paper says of it.
        note: What a reader has to know.
        name: Of its file.
        of_paper: Whether it is one of the paper's, or a control of one: part of `--all` and of
            docs/reproduction.md.
    """

    title: str
    paper: str
    rows: Sequence[Row]
    reference: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    heldout: bool = False
    margin: float = 0.02
    claims: Sequence[Claim] = ()
    note: str = ""
    name: str = ""
    of_paper: bool = True

    def __post_init__(self):
        names = [row.name for row in self.rows]
        for name in names:
            if not re.fullmatch(r"\w[\w.+=-]*", name) or names.count(name) > 1:
                raise AblationError(
                    f"row {name!r}: letters, digits and . _ - + = make its folder's"
                    " name, which no other row has"
                )
        asked = {
            self.reference,
            *(name for c in self.claims for pair in c.contrasts for name in pair),
        }
        if unknown := sorted(asked - {*names}):
            raise AblationError(f"there is no row {unknown[0]!r}; there are {', '.join(names)}")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of an ablation: a row, a seed, and the dose that is held out, if any."""

    ablation: Ablation
    row: Row
    seed: int
    dose: float | None

    @property
    def place(self) -> pathlib.Path:
        """Its folder below the workdir."""
        dose = [] if self.dose is None else [f"without_{self.dose:g}"]
        return pathlib.Path(self.ablation.name, self.row.name, *dose, f"seed_{self.seed}")


def names() -> list[str]:
    """The ablations that the program brings."""
    return sorted(packaged(FOLDER))


def of_paper(tier: str) -> list[Ablation]:
    """Those of the paper, in the order of its tables; what stands in none of these comes last."""
    found = [ablation for name in names() if (ablation := load(name, tier)).of_paper]
    return sorted(found, key=lambda ablation: first_table(ablation.paper))


def first_table(paper: str) -> int:
    """Number of the first table in "T2, T10, Fig. 4"; one after all where it names none."""
    return min((int(number) for number in re.findall(r"\bT(\d+)", paper)), default=100)


def load(name: str, tier: str) -> Ablation:
    """An ablation by its name, or of a file that ends in .py.

    Raises:
        AblationError: There is no such file, or it says what cannot be.
        ConfigError: It is neither a file nor a name.
    """
    path = config_file(name, folder=FOLDER, said=name)
    found = getattr(_module(path), "get_ablation", None)
    if found is None:
        raise AblationError(f"{path} has no get_ablation(tier): it is no ablation")
    try:
        return dataclasses.replace(found(tier), name=path.stem)
    except AblationError as error:
        raise AblationError(f"{path}: {error}") from error


def only(ablation: Ablation, rows: Sequence[str]) -> Ablation:
    """The ablation without its other rows, of which its table says so; all of it for no `rows`.

    Raises:
        AblationError: It has no such row, or would have no reference.
    """
    known = [row.name for row in ablation.rows]
    for name in rows:
        if name not in known:
            raise AblationError(
                f"ablation {ablation.name}, --rows: there is no {name!r}; there are "
                f"{', '.join(known)}"
            )
    if rows and ablation.reference not in rows:
        raise AblationError(
            f"ablation {ablation.name}, --rows: the others are compared with "
            f"{ablation.reference}; add it"
        )
    kept = [
        row if not rows or row.name in rows else dataclasses.replace(row, skip=LEFT_OUT)
        for row in ablation.rows
    ]
    return dataclasses.replace(ablation, rows=kept)


def cells(ablation: Ablation, tier: Tier) -> list[Cell]:
    """Every run, rows that are skipped left out; all rows of a seed before the next seed."""
    return [
        Cell(ablation, row, seed, dose)
        for seed in range(tier.seeds)
        for dose in (tier.doses if ablation.heldout else (None,))
        for row in ablation.rows
    ]


def why_skipped(row: Row, tier: Tier, inputs: Mapping[str, str]) -> str:
    """Why a row is not run, or nothing."""
    missing = [name for name in (*tier.needs, *row.needs) if name not in inputs]
    if row.skip or not missing:
        return row.skip
    return "missing input: " + ", ".join(f"--input={name}=…" for name in dict.fromkeys(missing))


def need_inputs(
    ablations: Sequence[Ablation],
    tier: Tier,
    inputs: Mapping[str, str],
    fields: Mapping[str, str],
) -> None:
    """Stops where an input is given that no row takes, or the tier's molecules are not.

    Raises:
        AblationError: Names it, and those that there are.
    """
    source = {"data.simulated.molecules", "data.simulated.n_molecules"}
    if tier.fields.get("data.simulated.n_molecules", 0) > _SHIPPED and not (
        "wells" in inputs or source & {*fields}
    ):
        raise AblationError(
            "this tier has more molecules than the program brings: add --input=wells=FILE, or "
            "--set data.simulated.molecules=FILE (a column of SMILES)"
        )
    known = {"wells", *tier.needs}
    for row in (row for ablation in ablations for row in ablation.rows):
        known.update(row.needs)
        for text in (row.arg, *row.fields.values()):
            if isinstance(text, str):
                known.update(name for _, name, _, _ in string.Formatter().parse(text) if name)
    if unknown := [name for name in inputs if name not in known]:
        raise AblationError(
            f"--input={unknown[0]}=…: no row takes it; there are {', '.join(sorted(known))}"
        )


def need_unvaried(
    ablation: Ablation, tier: Tier, inputs: Mapping[str, str], fields: Mapping[str, str]
) -> None:
    """Stops where a field is given for every run that the ablation sets or varies itself.

    Raises:
        AblationError: Names it.
    """
    own = {"seed", *ablation.fields, *(name for row in ablation.rows for name in row.fields)}
    if ablation.heldout:
        own.add("eval.heldout_concentrations")
    rows = [row for row in ablation.rows if not why_skipped(row, tier, inputs)]
    dose = tier.doses[0] if ablation.heldout else None
    for name in fields:
        others = {other: text for other, text in fields.items() if other != name}
        found = []
        for row in rows if name not in own and name != "eval.baselines" else ():
            cell = Cell(ablation, row, 0, dose)
            found.append(_now(config_of(cell, tier, inputs, others), name))
        if name in own or any(value != found[0] for value in found):
            raise AblationError(
                f"--set={name}={fields[name]}: ablation {ablation.name} sets that field itself; "
                "leave it out (--rows, --seeds and --doses choose among its runs)"
            )


def config_of(
    cell: Cell, tier: Tier, inputs: Mapping[str, str], fields: Mapping[str, str]
) -> Config:
    """The config of a run: that of the file, then the fields of tier, ablation and row.

    Baselines are ranked once, beside the reference's first seed: they know of no row.

    Args:
        cell: The run.
        tier: How large.
        inputs: Name → file that the user gave.
        fields: Config field → value as a text, of every run; over what the row does not vary.

    Raises:
        AblationError: A field that there is none of, or values that cannot be.
    """
    ablation, row = cell.ablation, cell.row
    where = f"ablation {ablation.name}, row {row.name}"
    arguments = [f"size={tier.size}", row.arg.format_map(inputs)]
    if "wells" in inputs:
        arguments.append(f"wells={inputs['wells']}")
    try:
        config = _module(config_file(row.config)).get_config(",".join(filter(None, arguments)))
        _set(config, tier.fields)
        _set(config, {name: _as_field(config, name, text) for name, text in fields.items()})
        _set(config, {**ablation.fields, **dict(_filled(row.fields, inputs))})
        if row.name != ablation.reference or cell.seed:
            config.eval.baselines = ""
        if cell.dose is not None:
            config.eval.heldout_concentrations = (cell.dose,)
        config.seed = cell.seed
        tasks.validate(config)
    except InputError as error:
        raise AblationError(f"{where}: {error}") from error
    return config


def _filled(fields: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        yield name, value.format_map(inputs) if isinstance(value, str) else value


def _now(config: Config, name: str) -> Any:
    """What a field holds."""
    try:
        for part in name.split("."):
            config = config[part]
    except (KeyError, TypeError) as error:
        raise AblationError(f"{name}: there is no such config field") from error
    return config


def _as_field(config: Config, name: str, text: str) -> Any:
    """The value of a field that was given as a text, of the type that the field has."""
    place = _now(config, name)
    if isinstance(place, ml_collections.ConfigDict):
        inner = ", ".join(f"{name}.{field}" for field in place)
        raise AblationError(f"--set={name}={text}: a section and no field; it has {inner}")
    kind = type(place)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if isinstance(place, list | tuple):
            return tuple(float(part) for part in text.split(",") if part)
        return kind(text)
    except (KeyError, TypeError, ValueError) as error:
        raise AblationError(
            f"--set={name}={text}: the field takes {kind.__name__}, as {place!r}"
        ) from error


def _set(config: Config, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        _now(config, name)  # a config would take a new field without a word
        try:
            config.update_from_flattened_dict({name: value})
        except (KeyError, TypeError, ValueError) as error:
            raise AblationError(f"{name}={value!r}: {' '.join(str(error).split())}") from error


def _module(path: pathlib.Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"ablation_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
