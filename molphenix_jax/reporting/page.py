"""What every page has: style, tables, pictures. A page is one file, its pictures inside."""

import base64
import html
import pathlib
from collections.abc import Collection, Sequence

from matplotlib.figure import Figure

from molphenix_jax.storage import new_file

DPI = 120
# Below 40rem each row of a table is a card: its cells stand below each other, with their columns.
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #222; --soft: #555; --line: #ddd;
  --link: #0b57c2; }
@media (prefers-color-scheme: dark) { :root { --back: #16181d; --text: #e8eaee; --soft: #a7aeb9;
  --line: #3a404a; --link: #8ab6ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 80rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
p, ul, dl, figure { max-width: 66rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
a, summary { color: var(--link); } summary { cursor: pointer; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); }
th, td { padding: .2rem .6rem; text-align: left; white-space: nowrap; font-weight: 400; }
thead th { border-bottom: 2px solid var(--text); font-weight: 600; }
tbody th, td { border-bottom: 1px solid var(--line); }
tr.first > * { border-top: 2px solid var(--soft); } th.number, td.number { text-align: right; }
img { max-width: 100%; background: #fff; } .scroll { overflow-x: auto; font-size: .85rem; }
td svg, th svg { display: block; width: 150px; height: 105px; }
figcaption, .note, dt { color: var(--soft); } figure { margin: 1.5rem 0; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .15rem 1.2rem; }
dd { margin: 0; overflow-wrap: anywhere; } .smiles { display: inline-block; max-width: 16rem;
  white-space: normal; overflow-wrap: anywhere; }
.panels { display: flex; flex-wrap: wrap; gap: .5rem; }
.panels img { width: 20rem; height: auto; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .7rem; } dl { grid-template-columns: 1fr; }
  dt { margin-top: .3rem; } .panels img { width: 100%; }
  table, tbody, tr, tbody th, td { display: block; } caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr.first > * { border-top: 0; }
  tbody tr { border: 1px solid var(--line); margin: .5rem 0; padding: .3rem .5rem; }
  tbody th, td, th.number, td.number { display: flex; justify-content: space-between; gap: 1rem;
    border: 0; padding: .1rem 0; white-space: normal; text-align: right; }
  tbody th::before, td::before { content: attr(data-label); color: var(--soft); text-align: left;
    font-weight: 400; }
  tbody th:empty, td:empty { display: none; }
}
"""


class Markup(str):
    """Text that is markup already, made by this package: a drawn molecule, for one."""


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page with the parts of its body."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def html_table(
    columns: Sequence[str],
    content: Sequence[Sequence[str]],
    *,
    text_columns: int,
    best: Sequence[Collection[str]] = (),
    caption: str = "",
) -> str:
    """A table; the columns after the first `text_columns` are numbers.

    A row whose first cell is not empty begins a group.

    Args:
        columns: Their names.
        content: Cells of each row; `Markup` is taken as it is.
        text_columns: See above.
        best: For each row the columns whose cell is bold.
        caption: What the table says.
    """
    # The roles keep it a table to a screen reader where a narrow page lays its rows out as cards.
    kinds = ["" if k < text_columns else ' class="number"' for k in range(len(columns))]
    head = "".join(
        f'<th scope="col" role="columnheader"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(columns, kinds, strict=True)
    )
    lines = [
        '<div class="scroll"><table role="table">',
        f"<caption>{html.escape(caption)}</caption>" if caption else "",
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">',
    ]
    for number, cells in enumerate(content):
        shown, bold = [], best[number] if best else ()
        for k, (name, kind, cell) in enumerate(zip(columns, kinds, cells, strict=True)):
            text = cell if isinstance(cell, Markup) else html.escape(cell)
            text = f"<b>{text}</b>" if name in bold else text
            tag, role = (
                ("th", ' scope="row" role="rowheader"') if k == 0 else ("td", ' role="cell"')
            )
            label = f' data-label="{html.escape(name)}"'
            shown.append(f"<{tag}{role}{kind}{label}>{text}</{tag}>")
        first = ' class="first"' if cells[0] else ""
        lines.append(f'<tr role="row"{first}>{"".join(shown)}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Names with what belongs to them."""
    items = "".join(f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in pairs)
    return f"<dl>{items}</dl>"


def sentences(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def picture(
    folder: pathlib.Path,
    name: str,
    figure: Figure | Sequence[Figure],
    caption: str,
    alts: Sequence[str] = (),
) -> str:
    """What shows a figure, or several side by side, with the pixels inside.

    Each is also written as a PNG into the page's folder, for slides.

    Args:
        folder: Of the page.
        name: Of the PNG; of several, `-2` and so on is put behind its stem.
        figure: The picture.
        caption: Below it.
        alts: What each shows, for who does not see it; the caption where that is not told.
    """
    figures = [figure] if isinstance(figure, Figure) else list(figure)
    images = []
    for number, each in enumerate(figures, start=1):
        path = folder / name
        path = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        with new_file(path) as private:
            each.savefig(private, dpi=DPI)
            pixels = base64.b64encode(private.read_bytes()).decode()
        alt = html.escape(alts[number - 1] if alts else caption)
        images.append(f'<img src="data:image/png;base64,{pixels}" alt="{alt}">')
    shown = images[0] if len(images) == 1 else f'<div class="panels">{"".join(images)}</div>'
    return f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"
