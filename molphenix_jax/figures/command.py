"""What `molphenix figures` does: asks a run all questions, and writes one page with the numbers."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import molphenix_jax
from molphenix_jax import storage
from molphenix_jax.figures.activity import Activity, activity
from molphenix_jax.figures.asked import Fold, folds_of
from molphenix_jax.figures.neighbourhood import Ordered, neighbourhood
from molphenix_jax.figures.properties import Probed, probe_properties
from molphenix_jax.figures.similarity import Similarities, similarities
from molphenix_jax.runtime.progress import say
from molphenix_jax.tasks.property_pretraining.labels import read_labels

Answer = Similarities | Ordered | Activity | Probed | str
_QUANTILES = np.linspace(0.0, 1.0, 101)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        run: --workdir of a finished alignment run.
        out: Folder of the page.
        properties: Tables of molecules with properties; none leaves that question out.
        smiles_column: Of these; empty finds it.
        doses_um: Concentrations that z_m is asked for properties at; empty takes the lowest, the
            middle and the highest of training.
        most: Molecules of each property, at most.
        seed: Of every draw.
    """

    run: pathlib.Path
    out: pathlib.Path
    properties: Sequence[pathlib.Path] = ()
    smiles_column: str = ""
    doses_um: Sequence[float] = ()
    most: int = 500
    seed: int = 0


def make_figures(request: Request) -> None:
    """Writes `index.html`, `figures.json`, CSV tables and PNGs.

    Raises:
        InputError: The run or a table cannot be asked.
    """
    from molphenix_jax.reporting.figures import in_words, write_figures

    folds, seed = folds_of(request.run), request.seed
    about = _about(folds, request)
    screen = str(folds[0].model.about["screen"]["name"])
    screen = "built-in screen" if screen == "simulated" else screen
    data = f"{screen}, {_folds_in_words(len(folds))}"
    answers: dict[str, Answer] = {
        "similarity": similarities(folds, seed=seed),
        "neighbourhood": neighbourhood(folds, seed=seed),
        "activity": activity(folds, seed=seed),
        "properties": _properties(folds[0], request),
    }
    told = {name: as_json(answer) for name, answer in answers.items()}
    for name, answer in told.items():
        say(f"{name}: {in_words(name, answer)}")
    tables = {name: t for name, a in answers.items() if (t := table_of(a)) is not None}
    # Without the folder of the run: what it says is the same wherever it was made.
    given = [f"--properties={path.name}" for path in request.properties]
    made = {
        "data": data,
        "command": " ".join(["molphenix figures RUN", *given]),
        "version": molphenix_jax.__version__,
        "about": dict(about[1:]),
    }
    storage.write_json(request.out / "figures.json", storage.signed({**made, **told}))
    for name, table in tables.items():
        storage.write_csv(request.out / f"{name}.csv", table)
    say(f"the page: {write_figures(request.out, about, told, tables)}")


def _folds_in_words(n: int) -> str:
    return "one split" if n == 1 else f"{n} folds"


def _about(folds: Sequence[Fold], request: Request) -> list[tuple[str, str]]:
    return [
        ("run", str(request.run)),
        ("screen", str(folds[0].model.about["screen"]["name"])),
        ("held-out perturbations", f"{sum(len(f.held) for f in folds):,} of {len(folds)} folds"),
        ("active (p ≤ .01)", f"{sum(int(f.active.sum()) for f in folds):,}"),
        ("inactive (p ≥ .9)", f"{sum(int(f.inactive.sum()) for f in folds):,}"),
    ]


def _properties(fold: Fold, request: Request) -> Probed | str:
    if not request.properties:
        return "no table of molecules with properties was given (--properties=FILE)"
    labels = read_labels(
        [str(path) for path in request.properties],
        smiles_column=request.smiles_column,
        cache=storage.cache_folder(""),
    )
    for note in labels.notes:
        say(f"- {note}")
    grid = fold.model.doses_um
    doses = request.doses_um or sorted({*grid[[0, len(grid) // 2, -1]].round(6).tolist()})
    return probe_properties(fold, labels, doses_um=doses, most=request.most, seed=request.seed)


def as_json(answer: Answer) -> dict[str, Any] | str:
    """The numbers of an answer as JSON types; a text says why there are none."""
    match answer:
        case Similarities():
            differences = list(answer.comparisons)
            return {
                "apart": dict(answer.apart),
                "comparisons": differences,
                "notes": list(answer.notes),
            }
        case Ordered():
            return {"rows": list(answer.rows), "drawn_by": answer.drawn_by}
        case Activity():
            rows, differences = list(answer.rows), list(answer.comparisons)
            return {"rows": rows, "comparisons": differences, "note": answer.note}
        case Probed():
            return {
                "rows": list(answer.rows),
                "means": list(answer.means),
                "left_out": dict(answer.left_out),
                "n_trained": answer.n_trained,
            }
        case why:
            return why


def table_of(answer: Answer) -> pd.DataFrame | None:
    """What the picture of an answer is drawn of."""
    match answer:
        case Similarities():
            return pd.DataFrame(
                [
                    {"measure": measure, "pairs": pairs, "share": share, "similarity": value}
                    for measure, of in answer.values.items()
                    for pairs, values in of.items()
                    for share, value in zip(
                        _QUANTILES, np.quantile(values, _QUANTILES), strict=True
                    )
                ]
            )
        case Ordered():
            return pd.DataFrame(
                {
                    "x": answer.place[:, 0],
                    "y": answer.place[:, 1],
                    "minus_log10_p": answer.strength,
                    "concentration_um": answer.concentration_um,
                }
            )
        case Activity():
            return pd.DataFrame({"active": answer.active.astype(int), **answer.score})
        case Probed():
            return pd.DataFrame(list(answer.rows))
        case _:
            return None
