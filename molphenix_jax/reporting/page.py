"""What every page has: its style, tables, pictures."""

import html
import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure

from molphenix_jax.storage import new_file

DPI = 150
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #222; font-weight: 600; } td { border-bottom: 1px solid #ddd; }
tr.first td { border-top: 2px solid #999; } .number { text-align: right; }
img { max-width: 100%; } .scroll { overflow-x: auto; font-size: .85rem; }
figcaption, .note { color: #555; } figure { margin: 1.5rem 0; }
"""


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page with the parts of its body."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def html_table(
    columns: Sequence[str], content: Sequence[Sequence[str]], *, text_columns: int
) -> str:
    """A table; the columns after the first `text_columns` are numbers.

    A row whose first cell is not empty begins a group.
    """
    kinds = ["" if k < text_columns else ' class="number"' for k in range(len(columns))]
    head = "".join(f"<th{k}>{html.escape(c)}</th>" for c, k in zip(columns, kinds, strict=True))
    lines = [f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>']
    for cells in content:
        shown = "".join(f"<td{k}>{html.escape(c)}</td>" for c, k in zip(cells, kinds, strict=True))
        first = ' class="first"' if cells[0] else ""
        lines.append(f"<tr{first}>{shown}</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def picture(folder: pathlib.Path, name: str, figure: Figure, caption: str) -> str:
    """Saves a figure in the page's folder; gives what shows it."""
    with new_file(folder / name) as private:
        figure.savefig(private, dpi=DPI)
    text = html.escape(caption)
    return (
        f'<figure><img src="{html.escape(name)}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
