"""docs/reproduction.md: every claim of the paper, judged by the tables that are there.

The tables lie beside the page, in `evidence/`; the page is made from them alone.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from molphenix_jax import storage
from molphenix_jax.ablations import grid
from molphenix_jax.runtime.workdir.folder import read_json

EVIDENCE = "evidence"


@dataclasses.dataclass(frozen=True)
class Unbuilt:
    """A claim that no ablation judges, and why."""

    text: str
    paper: str
    why: str


UNBUILT = (
    Unbuilt(
        "MolPhenix at its best settings: top-1% of active pairs, unseen images, unseen molecules, "
        "unseen dataset (T1)",
        ".969, .773, .586",
        "training data, Phenom1 and MolGPS are closed: numbers cannot be compared, methods can",
    ),
    Unbuilt(
        "kNN on molecule embeddings beats the input fingerprints on 35 property tasks, the more so "
        "the higher the implied dose (T8, T9)",
        "lost",
        "no ablation: molphenix figures asks a run; docs/results.md",
    ),
    Unbuilt(
        "A phenomic encoder trained with labels (AdaBN) is slightly lower than Phenom1, same "
        "trends (T20)",
        "lost",
        "no labelled images of this kind are public",
    ),
    Unbuilt(
        "The arctan of L2 distances sets pairs of inactive profiles apart from those of an active "
        "with an inactive one, the cosine does not (Fig. 6, D.3)",
        "a picture",
        "no ablation: molphenix figures asks a run; docs/results.md",
    ),
    Unbuilt(
        "UMAP of molecule embeddings orders p-values (Fig. 7)",
        "a picture",
        "no ablation: molphenix figures asks a run; docs/results.md",
    ),
    Unbuilt(
        "Activity is predicted from molecule embeddings (E.1)",
        "ROC-AUC ≈ .90",
        "no ablation: molphenix figures asks a run; docs/results.md",
    ),
    Unbuilt(
        "Known molecule-gene pairs are enriched between molecule and knock-out embeddings (E.2, "
        "Fig. 9)",
        "lost",
        "no public screen here has knock-outs",
    ),
)
_INTRODUCTION = """# Reproduction: what the paper claims, and what came out here

Made by `make evidence`, not by hand: the numbers are in `docs/evidence/`, one file an ablation.
Claims are judged by top-1% recall from profile to molecule in the full gallery, differences being
paired over the same queries and seeds, with 95% intervals that hold for all differences of a table
together (max-t bootstrap over molecules and seeds). The tables below have the active gallery, the
paper's reading (docs/method.md §14 row 17), too. On a small screen its best 1% are fewer candidates
than a molecule has doses: rows that are told no dose, whose doses tie, can hardly hit there, and
that says nothing of a loss.

- **holds**: every interval lies above 0;
- **fails**: an interval lies below 0, or the differences are not above 0 in the mean;
- **weakly**: neither; what is seen points the way of the claim, and could be chance;
- **not measured**: no run.

A verdict speaks of the data that its table names and of no other.
"""


def seconds_of(record: pathlib.Path) -> float:
    """What a run took, as it noted beside itself; 0 if it did not."""
    return read_json(record)["seconds"] if record.exists() else 0.0


def write(path: pathlib.Path, tables: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page, and beside it the tables that are new.

    Args:
        path: Of the page.
        tables: From `judging.judge`; those of other ablations that lie beside the page stay.
    """
    for table in tables:
        if table["results"]:
            told = json.dumps(_rounded(table), indent=1)
            storage.write_text(path.parent / EVIDENCE / f"{table['name']}.json", f"{told}\n")
    storage.write_text(path, text(read_evidence(path.parent / EVIDENCE)))


def read_evidence(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The tables that lie in a folder, by name."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def text(tables: Sequence[Mapping[str, Any]]) -> str:
    """The page: a line for each claim, those without a run too, then every table."""
    from molphenix_jax.reporting.ablations import ablation_markdown, claim_lines

    found = {table["name"]: table for table in tables}
    parts = [_INTRODUCTION, "## Claims\n"]
    for name in grid.names():
        table = found.get(name) or _unmeasured(name)
        if table["claims"]:
            parts += [f"### {table['title']} ({table['paper']})\n", f"{table['data']}.\n"]
            parts.append("\n".join(claim_lines([table])) + "\n")
    parts.append("### Judged by no ablation\n")
    parts.append("\n".join(["| claim | paper | why there is no number |", "|---|---|---|"]))
    parts.append("\n".join(f"| {c.text} | {c.paper} | {c.why} |" for c in UNBUILT) + "\n")
    parts[-2:] = ["\n".join(parts[-2:])]
    parts.append("## Tables\n")
    parts += [ablation_markdown({**table, "claims": []}, level=3) for table in tables]
    return "\n".join(parts)


def _rounded(value: Any) -> Any:
    """Numbers to five digits after the point, which is a thousandth of a percent."""
    if isinstance(value, Mapping):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return round(value, 5) if isinstance(value, float) else value


def _unmeasured(name: str) -> dict[str, Any]:
    ablation = grid.load(name, "small")
    return {
        "title": ablation.title,
        "paper": ablation.paper,
        "data": f"Not run yet: `molphenix ablate {name} --tier=small --workdir=DIR`",
        "rows": [{"name": row.name, "label": row.label} for row in ablation.rows],
        "claims": [
            {
                "text": claim.text,
                "paper": claim.paper,
                "subset": claim.subset,
                "psi": None,
                "reading": claim.reading,
                "contrasts": [],
                "missing": [],
                "verdict": "not measured",
            }
            for claim in ablation.claims
        ],
    }
