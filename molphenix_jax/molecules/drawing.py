"""Molecules as small inline pictures: RDKit's SVG, a tenth of its size.

The picture takes the colour of the text around it for carbon, so that it suits light and dark
pages; the colours of other atoms stand out from both. What RDKit draws bond by bond is one path for
each colour, its letters are one text.
"""

import functools
import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from rdkit import Chem, rdBase

from molphenix_jax.molecules.parallel import map_distinct
from molphenix_jax.molecules.standard.reading import parse_all

WIDTH, HEIGHT = 200, 140  # px
LARGEST = 200  # atoms; more are no picture that anybody can read
_SCALE = 10  # parts of a pixel, so that coordinates are whole numbers
_BOND = 20.0  # px at most
_TEXT = "#000000"
_OTHERS = (0.55, 0.45, 0.45)
# At least three to one on white and on #16181d.
_PALETTE = {
    7: (0.27, 0.45, 0.95),
    8: (0.88, 0.24, 0.20),
    9: (0.10, 0.56, 0.36),
    15: (0.78, 0.42, 0.05),
    16: (0.62, 0.47, 0.00),
    17: (0.10, 0.56, 0.36),
    35: (0.66, 0.36, 0.26),
    53: (0.58, 0.34, 0.78),
}
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_STYLE = re.compile(r"([a-z-]+):([^;]*)")
_TOKEN = re.compile(r"[A-Za-z]|-?\d+\.?\d*")


def draw(smiles: Sequence[str]) -> list[str]:
    """An inline SVG for each molecule, "" where it cannot be read or is too large to be read.

    The pictures hold nothing of the texts but what RDKit makes of them, and say nothing to a screen
    reader: whoever shows one gives it a label. Where RDKit cannot draw at all, they are all "", and
    a warning says what to install.
    """
    return map_distinct(_draw, list(smiles))


def _draw(smiles: Sequence[str]) -> list[str]:
    if _drawing() is None:
        return [""] * len(smiles)
    with rdBase.BlockLogs():
        return ["" if mol is None else _picture(mol) for mol in parse_all(smiles)]


@functools.cache
def _drawing() -> Any:
    """RDKit's drawing; None where a library is missing that only it asks for, as on slim images."""
    try:
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError as error:
        warnings.warn(
            f"structures are not drawn: {error}; on Debian and Ubuntu it comes with `apt-get "
            "install libxrender1 libxext6 libexpat1`",
            stacklevel=2,
        )
        return None
    return rdMolDraw2D


def _picture(mol: Chem.Mol) -> str:
    if not 0 < mol.GetNumAtoms() <= LARGEST:
        return ""
    drawing = _drawing()
    canvas = drawing.MolDraw2DSVG(WIDTH, HEIGHT, -1, -1, True)  # letters as text
    options = canvas.drawOptions()
    options.clearBackground = False
    options.fixedBondLength = _BOND
    options.bondLineWidth = 1
    options.padding = 0.03
    options.setAtomPalette({-1: _OTHERS, 0: (0, 0, 0), 1: (0, 0, 0), 6: (0, 0, 0), **_PALETTE})
    drawing.PrepareAndDrawMolecule(canvas, mol)
    canvas.FinishDrawing()
    return _shrunk(canvas.GetDrawingText())


def _shrunk(svg: str) -> str:
    lines: dict[str, list[str]] = defaultdict(list)
    areas: dict[str, list[str]] = defaultdict(list)
    letters: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    others = []
    for element in ElementTree.fromstring(svg):
        style = dict(_STYLE.findall(element.get("style", "")))
        tag = element.tag.removeprefix(_NAMESPACE)
        if tag == "path" and "stroke-dasharray" not in style:
            # Without a class it only rounds a corner, as the ends of these lines do.
            if element.get("class"):
                filled = style.get("fill", "none") != "none"
                (areas if filled else lines)[style["stroke"]].append(_path(element.get("d", "")))
        elif tag == "text" and len(element.text or "") == 1:
            size = style["font-size"].removesuffix("px")
            x, y = (_tenths(element.get(name, "0")) for name in "xy")
            letters[style["fill"], size].append((x, y, element.text or ""))
        else:
            element.tag = tag
            others.append(ElementTree.tostring(element, encoding="unicode").strip())
    parts = [f'<path{_colour("stroke", c)} d="{"".join(d)}"/>' for c, d in lines.items()]
    parts += [
        f'<path fill="{_named(c)}" stroke="none" d="{"".join(d)}"/>' for c, d in areas.items()
    ]
    for (colour, size), found in letters.items():
        x, y = (" ".join(str(each[k]) for each in found) for k in (0, 1))
        text = "".join(each[2] for each in found)
        parts.append(
            f'<text fill="{_named(colour)}" stroke="none" font-size="{_tenths(size)}" x="{x}" '
            f'y="{y}">{text}</text>'
        )
    if others:
        parts.append(f'<g transform="scale({_SCALE})">{"".join(others)}</g>')
    return (
        f'<svg viewBox="0 0 {WIDTH * _SCALE} {HEIGHT * _SCALE}" fill="none" stroke="currentColor" '
        'stroke-width="11" stroke-linecap="round" font-family="sans-serif" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _path(d: str) -> str:
    """A path with whole numbers; lines are relative, as that is shorter."""
    tokens = _TOKEN.findall(d)
    shown, command, x, y, k = [], "", 0, 0, 0
    while k < len(tokens):
        if tokens[k].isalpha():
            command = tokens[k]
            k += 1
            if command in "Zz":
                shown.append("z")
            continue
        n = {"M": 1, "L": 1, "C": 3, "Q": 2}[command]  # RDKit writes no others
        points = [_tenths(number) for number in tokens[k : k + 2 * n]]
        k += 2 * n
        if command == "M":
            shown.append(f"M{points[0]} {points[1]}")
        else:
            steps = [value - (y if i % 2 else x) for i, value in enumerate(points)]
            shown.append(command.lower() + " ".join(map(str, steps)).replace(" -", "-"))
        x, y = points[-2:]
    return "".join(shown)


def _tenths(number: str) -> int:
    return round(float(number) * _SCALE)


def _colour(attribute: str, colour: str) -> str:
    return "" if colour == _TEXT else f' {attribute}="{colour}"'


def _named(colour: str) -> str:
    return "currentColor" if colour == _TEXT else colour
