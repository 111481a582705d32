"""docs/reproduction.md: every claim of the paper, judged by the tables that are there.

The tables lie beside the page, in `evidence/`, and what runs answered `molphenix figures`; the page
is made from these alone.
"""

import collections
import dataclasses
import html
import json
import pathlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

from molphenix_jax import storage
from molphenix_jax.ablations import grid, judging
from molphenix_jax.ablations.course import stagnation
from molphenix_jax.ablations.figured import FIGURED, PREFIX, rows_of, why_not
from molphenix_jax.ablations.grid import Ablation, AblationError
from molphenix_jax.runtime.workdir.folder import read_json

EVIDENCE = "evidence"
# Sentences in cells.
_WRAPPED = """<style>
td, tbody th { white-space: normal; vertical-align: top; }
@media (min-width: 60rem) {
  td:nth-child(2) { min-width: 12rem; } td:nth-child(4) { min-width: 19rem; }
  td:nth-child(5) { min-width: 9rem; } td:nth-child(7) { min-width: 12rem; }
  td:nth-child(5), td:nth-child(7) { overflow-wrap: anywhere; }
}
@media (max-width: 40rem) {
  tbody th, td { justify-content: flex-start; text-align: left; }
  tbody th::before, td::before { flex: 0 0 3.5rem; }
}
</style>"""


COLUMNS = ("where", "claim", "paper", "here", "data", "verdict", "why")
NOT_RUN = "not run here"


@dataclasses.dataclass(frozen=True)
class Unbuilt:
    """A claim that no ablation judges.

    Attributes:
        where: In the paper.
        text: The claim.
        paper: Its number, or "lost".
        why: What it needs, and the command that asks it.
    """

    where: str
    text: str
    paper: str
    why: str


_WHY_COURSE = (
    "Validation top-5%, the last quarter of the updates beside the second; no interval, so that it "
    "holds weakly at best."
)
UNBUILT = (
    Unbuilt(
        "T1",
        "MolPhenix at its best settings: top-1% of active pairs, unseen images, unseen molecules, "
        "unseen dataset",
        ".969, .773, .586",
        "Training data, Phenom1 and MolGPS are closed: numbers cannot be compared, methods can, by "
        "molphenix ablate headline --tier=full --input=wells=FILE --workdir=DIR.",
    ),
    Unbuilt(
        "T20",
        "A phenomic encoder trained with labels (AdaBN) is slightly lower than Phenom1, with the "
        "same trends",
        "lost",
        "Needs its embeddings of the images of a screen: molphenix ablate losses --tier=full "
        "--input=wells=FILE --workdir=DIR on each encoder's wells. No labelled images of this "
        "kind are public.",
    ),
    Unbuilt(
        "E.2, Fig. 9",
        "Known molecule–gene pairs are enriched between molecule and knock-out embeddings",
        "lost",
        "Needs a screen with knock-outs: molphenix published rxrx3_core RUN asks RxRx3-core's.",
    ),
    Unbuilt(
        "T6, T7",
        "The settings of the towers and of S2L",
        "in part lost",
        "No claim: docs/method.md §4 has what is known of them, §14 the readings taken.",
    ),
)
COURSE = Unbuilt(
    "Fig. 4",
    "Recall of all pairs stagnates with training while that of active ones goes on to rise",
    "a picture",
    "Needs a long training: molphenix ablate headline --tier=decide --workdir=DIR --set "
    "data.simulated.molecules=FILE draws recall against samples seen.",
)
_INTRODUCTION = """# Reproduction: what the paper claims, and what came out here

Made by `make evidence`, a larger tier or another screen by the command at its table or verdict,
and nothing by hand: the numbers are in `docs/evidence/`, one file an ablation and tier, and what a
run answered `molphenix figures` (`figures_NAME.json`; docs/results.md, "What the embeddings know").
Where nothing else is said, numbers are points of top-1% recall.
Claims are judged by top-1% recall from profile to molecule in the full gallery, differences being
paired over the same queries and seeds, with 95% intervals that hold for all differences of a table
together (max-t bootstrap over molecules and seeds; with one seed over molecules alone, and another
seed may say otherwise). The tables have the active gallery, the
paper's reading (docs/method.md §14 row 17), too. On a small screen its best 1% are fewer candidates
than a molecule has doses: rows that are told no dose, whose doses tie, can hardly hit there, and
that says nothing of a loss.

- **holds**: every interval lies above 0;
- **fails**: an interval lies below 0, or the differences are not above 0 in the mean;
- **weakly**: neither; the mean of its differences points the way of the claim, and could be chance,
  or some of its rows were not run;
- **not run here**: no run; what it needs, and the command.

A verdict speaks of the data that its table names and of no other. At 30,000 molecules no pair
passes the paper's k = .75: S2L there is SigLIP with heavier negatives (docs/method.md §12.8). Rows
called "both" have soft positives along replicable directions, with the own null of each pair.
"""


def seconds_of(record: pathlib.Path) -> float:
    """What a run took, as it noted beside itself; 0 if it did not."""
    return read_json(record)["seconds"] if record.exists() else 0.0


def need_page(path: pathlib.Path) -> None:
    """Stops, before anything is run, where the page could not be written.

    Raises:
        AblationError: It is no Markdown file, or what lies beside it cannot be read.
    """
    if path.suffix != ".md" or path.is_dir():
        raise AblationError(f"--report={path}: name a file that ends in .md")
    read_evidence(path.parent / EVIDENCE)


def need_room(path: pathlib.Path, table: Mapping[str, Any], rows: Set[str]) -> None:
    """Stops where a table would take the place of one that says more, or of other data.

    Args:
        path: Of the page.
        table: `name`, `tier`, `data` and `n_seeds` of the new one.
        rows: Those that it has, or will have.

    Raises:
        AblationError: Names the file and what it has.
    """
    file = path.parent / EVIDENCE / f"{_file_name(table)}.json"
    if not file.exists():
        return
    old = _read(file)
    gone = {of["row"] for of in old["results"] if not of["baseline"]} - {*rows}
    if old["data"] != table["data"]:
        why = f"is of {old['data']}, and this table of {table['data']}"
    elif table["n_seeds"] < old["n_seeds"]:
        why = f"has {old['n_seeds']} seeds of each row, and this table {table['n_seeds']}"
    elif gone:
        why = f"has rows that this table lacks: {', '.join(sorted(gone))}"
    else:
        return
    raise AblationError(
        f"--report={path}: {file} {why}; give another --report, or remove that file to replace it"
    )


def write(path: pathlib.Path, tables: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page as Markdown and as HTML, and beside it the tables that are new.

    Args:
        path: Of the page.
        tables: From `judging.judge`; those of other ablations that lie beside the page stay.
    """
    for table in tables:
        if table["results"]:
            need_room(path, table, {of["row"] for of in table["results"]})
            told = json.dumps(storage.signed(_rounded(table)), indent=1)
            storage.write_text(path.parent / EVIDENCE / f"{_file_name(table)}.json", f"{told}\n")
    found, figures = read_evidence(path.parent / EVIDENCE)
    storage.write_text(path, text(found, figures))
    storage.write_text(path.with_suffix(".html"), html_text(found, figures))


Evidence = list[dict[str, Any]]


def read_evidence(folder: pathlib.Path) -> tuple[Evidence, Evidence]:
    """The tables that lie in a folder, and what runs were asked by `molphenix figures`; by name.

    Raises:
        AblationError: One has other numbers than a run gave.
    """
    found: tuple[Evidence, Evidence] = ([], [])
    for file in sorted(folder.glob("*.json")):
        table, of_figures = _read(file), file.name.startswith(PREFIX)
        if "digest" not in table or not storage.is_intact(table):
            command = table.get("command", "its command")
            again = (
                f"copy `{command}`'s RUN/figures/figures.json there"
                if of_figures
                else f"run `{command} --report=FILE.md`"
            )
            raise AblationError(
                f"{file} was changed by hand: its numbers are no longer those of the runs (its "
                f"digest tells); restore it, or {again}"
            )
        found[of_figures].append(table)
    return found


def _read(file: pathlib.Path) -> dict[str, Any]:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AblationError(f"{file} is damaged ({error}); restore or remove it") from error
    if not isinstance(table, dict):
        raise AblationError(f"{file} holds no table; remove it")
    return table


def text(tables: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page: a line for each claim, those without a run too, then every table."""
    from molphenix_jax.reporting.ablations import ablation_markdown

    parts = [_INTRODUCTION, "## Claims\n", f"| {' | '.join(COLUMNS)} |"]
    parts.append("|" + "---|" * len(COLUMNS))
    for row in judged(tables, figures):
        cells = [cell.replace("|", "\\|") for cell in row]
        parts.append(f"| {' | '.join([*cells[:5], f'**{cells[5]}**', cells[6]])} |")
    parts.append("\n## Tables\n")
    ordered = sorted(tables, key=lambda table: grid.first_table(table["paper"]))
    parts += [ablation_markdown({**table, "claims": []}, level=3) for table in ordered]
    return "\n".join(parts)


def html_text(
    tables: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The same claims as one page that needs no other file."""
    from molphenix_jax.reporting.page import Markup, html_page, html_table

    rows = [[_plain(cell) for cell in row] for row in judged(tables, figures)]
    here = COLUMNS.index("here")
    title, *paragraphs = [part for part in _INTRODUCTION.split("\n\n") if part.strip()]
    paragraphs.append("The tables are in reproduction.md, beside this page.")
    told = "".join(map(_paragraph, paragraphs))
    tally = collections.Counter(row[5] for row in rows)
    counted = ", ".join(f"{verdict} {n}" for verdict, n in tally.most_common())
    heading = html.escape(title.removeprefix("# "))
    body = [
        f"<h1>{heading}</h1>",
        f"<p>{len(rows)} verdicts, some claims on several screens: {counted}.</p>",
    ]
    for row in rows:  # one difference a line
        lines = [html.escape(line) for line in filter(None, row[here].split("; "))]
        row[here] = Markup(f"<span>{'<br>'.join(lines)}</span>" if lines else "")
    bold = [{"verdict"}] * len(rows)
    body += [told, _WRAPPED, html_table(COLUMNS, rows, text_columns=len(COLUMNS), best=bold)]
    return html_page(title.removeprefix("# "), body)


def _paragraph(part: str) -> str:
    """A paragraph of the introduction, or its list, as HTML."""
    if not part.startswith("- "):
        return f"<p>{html.escape(_plain(part))}</p>"
    points = part.removeprefix("- ").split("\n- ")
    return f"<ul>{''.join(f'<li>{html.escape(_plain(point))}</li>' for point in points)}</ul>"


def judged(
    tables: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for every claim of the paper, also for those without a run."""
    from molphenix_jax.reporting.ablations import claim_cells

    rows = []
    for ablation in grid.of_paper("small"):
        of_it = [table for table in tables if table["name"] == ablation.name]
        asked = {claim["text"] for table in of_it for claim in table["claims"] if _is_asked(claim)}
        for table in of_it or [_unmeasured(ablation)]:
            data = f"{table['data']}, {_seeds_in_words(table['n_seeds'])}" if of_it else ""
            for text_of, paper, here, verdict, why in claim_cells(table):
                if verdict == "not measured" and text_of in asked:
                    continue  # its rows were left out here, and there are others that have them
                if verdict == "not measured":
                    command = f"`molphenix ablate {ablation.name} --tier=small --workdir=DIR`"
                    files = [f"--input={name}=FILE" for name in _needs(ablation, text_of)]
                    command += f" with {' and '.join(files)}" if files else ""
                    why = " ".join(filter(None, [f"Needs {command}.", why]))
                    verdict = NOT_RUN
                rows.append((ablation.paper, text_of, paper, here, data, verdict, why))
    for claim in FIGURED:
        here = rows_of(claim, figures) or [("", "", NOT_RUN, why_not(claim, figures))]
        rows += [(claim.where, claim.text, claim.paper, *each) for each in here]
    rows += _course_rows(tables)
    rows += [(c.where, c.text, c.paper, "", "", NOT_RUN, c.why) for c in UNBUILT]
    return rows


def _needs(ablation: Ablation, claim: str) -> list[str]:
    """The inputs without which rows of a claim are skipped."""
    pairs = [pair for of in ablation.claims if of.text == claim for pair in of.contrasts]
    rows = [row for row in ablation.rows if any(row.name in pair for pair in pairs)]
    return list(dict.fromkeys(name for row in rows for name in row.needs))


def _course_rows(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Fig. 4 on each screen of long trainings, or what it needs."""
    claim, rows = (COURSE.where, COURSE.text, COURSE.paper), []
    by_data: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for table in tables:
        by_data[f"{table['data']}, {_seeds_in_words(table['n_seeds'])}"].append(table)
    for data, of_it in by_data.items():
        here, lines = stagnation(of_it)
        if lines:
            rows.append((*claim, here, data, judging.verdict(lines), _WHY_COURSE))
    return rows or [(*claim, "", "", NOT_RUN, COURSE.why)]


def _is_asked(claim: Mapping[str, Any]) -> bool:
    return claim["verdict"] != "not measured"


def _file_name(table: Mapping[str, Any]) -> str:
    """Of the evidence: the tier small has the ablation's name, others stand beside it."""
    tier = table["tier"]
    return table["name"] if tier == "small" else f"{table['name']}_{tier}"


def _seeds_in_words(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


def _plain(text_of: str) -> str:
    """Markdown without its marks."""
    return text_of.replace("`", "").replace("**", "")


def _rounded(value: Any) -> Any:
    """Numbers to five digits after the point, which is a thousandth of a percent."""
    if isinstance(value, Mapping):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return round(value, 5) if isinstance(value, float) else value


def _unmeasured(ablation: Ablation) -> dict[str, Any]:
    return {
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
