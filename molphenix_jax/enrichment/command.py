"""What `molphenix enrichment` does: ranks what each fold held out, then counts the hits."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from molphenix_jax import storage, tasks
from molphenix_jax.enrichment.folds import ScoredFolds
from molphenix_jax.enrichment.hits import Hits, read_hits
from molphenix_jax.enrichment.methods import MODEL, methods_of
from molphenix_jax.errors import InputError
from molphenix_jax.evaluation.enrichment import PERCENTS, Screened, macro, matched, ranked
from molphenix_jax.molecules import FINGERPRINTS
from molphenix_jax.molecules.drawing import draw
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import say
from molphenix_jax.storage.digests import digest_file
from molphenix_jax.tasks.align import AlignTask
from molphenix_jax.tasks.align.config import split_rule
from molphenix_jax.tasks.align.evaluation import BaselineInputs
from molphenix_jax.tasks.stored import placed_config

SCORES_FILE, RESULT_FILE = "scores.parquet", "enrichment.json"
FEWEST_HITS, FEWEST_MOLECULES = 10, 5  # of a kind, among what the folds held out
_SHARES = np.linspace(0.0, 1.0, 101)
_SHOWN = 4  # of the first hits, the last hits and the first others of a kind


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        run: --workdir of a finished alignment run.
        hits: Table of hits (`hits.read_hits`).
        out: Folder of what is written.
        at_least: From which value on a perturbation is a hit.
        columns: Regular expression over the columns of hits; empty takes those with numbers.
        trees: Feature block of the boosted trees.
        blind: Ends when the candidates are ranked, before hits are counted.
        seed: Of resamples, and of the order of equal scores.
    """

    run: pathlib.Path
    hits: pathlib.Path
    out: pathlib.Path
    at_least: float = 0.5
    columns: str = ""
    trees: str = "physchem"
    blind: bool = False
    seed: int = 0


def measure_enrichment(request: Request) -> None:
    """Writes `scores.parquet`, and unless blind `enrichment.json`, tables and the page.

    Scores that are there already are taken as they are, and folds that are scored stay so: the
    command that was killed goes on with the next fold.

    Raises:
        InputError: The run or the table cannot be used, or no kind has enough hits.
    """
    if request.trees not in FINGERPRINTS:
        raise InputError(
            f"--trees={request.trees} is no feature block; there are {', '.join(FINGERPRINTS)}"
        )
    config = placed_config(request.run)
    mesh = meshes.make_mesh(config.train.devices)
    task = tasks.make(config, mesh, request.run) if config.task == "align" else None
    if not isinstance(task, AlignTask):
        raise InputError(
            f"{request.run} is no run of one screen of profiles: give the --workdir of one that "
            "configs/s2l.py and its kin train"
        )
    hits = read_hits(request.hits, task.screen, at_least=request.at_least, columns=request.columns)
    for note in hits.notes:
        say(f"- {note}")
    features, path = BaselineInputs(), request.out / SCORES_FILE
    if path.exists():
        say(f"- {path} is there and is scored as it is; without it scores are made anew")
    else:
        folds = ScoredFolds(
            task, mesh, request.run, _enough(hits, task), features, request.trees, request.out
        )
        table = folds.table()
        with storage.new_file(path) as private:
            table.to_parquet(private, index=False)
        folds.remove()
    digest = digest_file(path)
    say(f"{path}: sha256 {digest}")
    if request.blind:
        say("no hit has been counted; the same command without --blind counts them")
        return
    _count(request, task, hits, pd.read_parquet(path), features, digest)


def _enough(hits: Hits, task: AlignTask) -> Hits:
    """The kinds with enough hits among what the folds hold out."""
    unseen = np.concatenate([task.split(fold).test for fold in range(task.n_folds)])
    hit, molecule = hits.hit[unseen], task.screen.molecule[unseen]
    kinds = [
        k
        for k in range(hit.shape[1])
        if hit[:, k].sum() >= FEWEST_HITS
        and len(np.unique(molecule[hit[:, k]])) >= FEWEST_MOLECULES
    ]
    if not kinds:
        raise InputError(
            f"--hits: no kind has {FEWEST_HITS} hits of {FEWEST_MOLECULES} molecules among the "
            f"{len(unseen):,} perturbations that the folds held out (a hit is a value of at least "
            f"{hits.at_least:g}: --at-least); train with more folds (data.folds=5) to hold out more"
        )
    if fewer := [name for k, name in enumerate(hits.names) if k not in kinds]:
        say(f"- {len(fewer):,} kinds have fewer than {FEWEST_HITS} hits and are left out")
    return hits.of(np.array(kinds))


def _count(
    request: Request,
    task: AlignTask,
    hits: Hits,
    table: pd.DataFrame,
    features: BaselineInputs,
    digest: str,
) -> None:
    from molphenix_jax.reporting.enrichment import in_words, write_enrichment

    kinds = _screened(request, task, hits, table)
    rivals = [method for method in kinds[0].rank if method != MODEL]
    cells = features.confounders(task.screen).mean_cells(np.arange(task.screen.n_perturbations))
    settings = {"all": kinds}
    if cells is not None:
        alike = [_part(kind, matched(kind.hit, kind.fold, cells[kind.row])) for kind in kinds]
        settings["cell-count matched"] = [kind for kind in alike if kind.hit.any()]
    n_molecules = len(np.unique(np.concatenate([kind.molecule for kind in kinds])))
    record: dict[str, Any] = {
        "about": {
            "run": str(request.run),
            "screen": task.screen.name,
            "hits": f"{request.hits.name}, from {request.at_least:g} on",
            "candidates": f"{max(len(kind.row) for kind in kinds):,} perturbations of "
            f"{n_molecules:,} molecules that {task.n_folds} folds held out, by "
            f"{split_rule(task.config)}",
            "trees": request.trees,
            "scores": digest,
        },
        "kinds": [row for name, of in settings.items() for row in _rows(name, of)],
        "macro": [
            {"candidates": name, "kinds": len(of), **row}
            for name, of in settings.items()
            for row in (macro(of, model=MODEL, rivals=rivals, seed=request.seed) if of else ())
        ],
    }
    curves = pd.DataFrame(
        [
            {"kind": kind.name, "method": method, "wells": share, "found": found}
            for kind in kinds
            for method in kind.rank
            for share, found in zip(_SHARES, kind.curve(method, _SHARES), strict=True)
        ]
    )
    places = _places(kinds, table)
    storage.write_csv(request.out / "curves.csv", curves)
    storage.write_csv(request.out / "ranked.csv", places)
    shown = _shown(places)
    pictures = dict(zip(shown["smiles"], draw(shown["smiles"].tolist()), strict=True))
    page = write_enrichment(request.out, record, curves, shown, pictures)
    storage.write_json(request.out / RESULT_FILE, record)
    say(in_words(record))
    say(f"the page: {page}")


def _screened(request: Request, task: AlignTask, hits: Hits, table: pd.DataFrame) -> list[Screened]:
    """Of each kind the candidates of which the table of hits says anything, ranked."""
    found = []
    for name in dict.fromkeys(table["kind"].tolist()):
        if name not in hits.names:
            continue
        k = hits.names.index(name)
        of = table.iloc[np.flatnonzero(table["kind"].to_numpy(str) == name)]
        of = of.iloc[np.flatnonzero(hits.known[of["perturbation"].to_numpy(), k])]
        row, fold = of["perturbation"].to_numpy(), of["fold"].to_numpy()
        hit = hits.hit[row, k]
        if not hit.any():
            continue
        molecule = of["inchikey"].str[:14].to_numpy(str)
        rank = {
            method: ranked(of[method].to_numpy(), fold, seed=request.seed)
            for method in methods_of(of)
        }
        found.append(Screened(name, row, molecule, fold, hit, rank))
    if not found:
        raise InputError(
            f"{request.out / SCORES_FILE} has no kind of hits of {request.hits}: it belongs to "
            "another table; take another --out"
        )
    return found


def _part(kind: Screened, chosen: np.ndarray) -> Screened:
    """Some of the candidates, ranked among each other."""
    fold = kind.fold[chosen]
    return Screened(
        kind.name,
        kind.row[chosen],
        kind.molecule[chosen],
        fold,
        kind.hit[chosen],
        {m: ranked(-rank[chosen].astype(float), fold) for m, rank in kind.rank.items()},
    )


def _rows(candidates: str, kinds: Sequence[Screened]) -> list[dict[str, Any]]:
    return [
        {
            "candidates": candidates,
            "kind": kind.name,
            "model": method,
            "n": len(kind.row),
            "hits": int(kind.hit.sum()),
            "hit_molecules": len(np.unique(kind.molecule[kind.hit])),
            **{f"ef_{percent:g}pct": kind.factor(method, percent) for percent in PERCENTS},
            "wells_for_half": kind.half(method),
        }
        for kind in kinds
        for method in kind.rank
    ]


def _places(kinds: Sequence[Screened], table: pd.DataFrame) -> pd.DataFrame:
    """Each candidate of each kind: whether it is a hit, and after which share of wells it comes."""
    described = ["perturbation", "smiles", "inchikey", "concentration_um", "condition"]
    known = pd.DataFrame(table[described]).drop_duplicates("perturbation")
    known = known.set_index("perturbation")
    parts = []
    for kind in kinds:
        part = known.loc[kind.row].reset_index(drop=True)
        places = {f"wells_{method}": kind.place(method) for method in kind.rank}
        parts.append(part.assign(kind=kind.name, fold=kind.fold, hit=kind.hit, **places))
    return pd.concat(parts, ignore_index=True)


def _shown(places: pd.DataFrame) -> pd.DataFrame:
    """Of each kind the hits that come first and last, and the first that are none."""
    parts, place = [], f"wells_{MODEL}"
    for _, of in places.sort_values(place, kind="stable").groupby("kind", sort=False):
        once = of.drop_duplicates(["inchikey", "hit"])
        hits, others = once[once["hit"]], once[~once["hit"]]
        last = hits.tail(min(_SHOWN, max(len(hits) - _SHOWN, 0))).iloc[::-1]
        parts += [
            hits.head(_SHOWN).assign(what="hits that come first"),
            last.assign(what="hits that come last"),
            others.head(_SHOWN).assign(what="no hits, though they come first"),
        ]
    return pd.concat(parts, ignore_index=True)
