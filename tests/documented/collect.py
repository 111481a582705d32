"""Every command that the README, docs, docstrings and --help texts show, as they stand there.

A command is a line of a code block (indented or fenced), or inline code, that begins with one of
`PREFIXES`. Short forms are read too: a column of a Markdown table headed `COMMAND …` holds what
follows that command, and fields alone (`--config.train.steps=5`) belong to a training before them.
"""

import argparse
import ast
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from molphenix_jax.cli import make_parser

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = "python -m molphenix_jax.main"
PREFIXES = (TRAIN, "molphenix ", "make ", "pip install ", "launch/", ".ci/")
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^(?: {4}|\t)(.*)", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_HOLDS = (ast.stmt, ast.ExceptHandler, ast.match_case)  # what a definition may stand in


class Text(NamedTuple):
    """Something to read: its commands run one after the other in one folder."""

    name: str
    body: str


def texts() -> list[Text]:
    """Chapters of Markdown files, docstrings, help texts; those with commands."""
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    pages += sorted(page for room in ("docs", "launch") for page in (ROOT / room).rglob("*.md"))
    found = [chapter for page in pages for chapter in _chapters(page)]
    found += [*_docstrings(), *_help_texts()]
    return [text for text in found if commands(text.body)]


def commands(body: str) -> list[list[str]]:
    """The commands of a text as words, in its order."""
    # A fenced block as an indented one; a command that goes on in the next line as one line.
    body = _FENCED.sub(lambda block: re.sub("^", "    ", block[1], flags=re.MULTILINE), body)
    body = body.replace("\\\n", " ")
    split = [shlex.split(piece, comments=True) for piece in _pieces(body)]
    return [words for words in split if words[-1] not in ("…", "...", TRAIN.split()[-1])]


def _pieces(body: str) -> Iterator[str]:
    """The text of each command, with table rows under their head's command."""
    heads: list[str] = []
    for block in re.split(r"\n(?=\||    |\t)|(?<=\|)\n", body):
        if block.startswith("|"):
            yield from _row(block.strip().strip("|").split("|"), heads)
            continue
        heads = []
        line, _, prose = block.partition("\n")
        if code := _INDENTED.match(line):
            for part in code[1].split("&&"):
                yield from _started(part.strip().removeprefix("$ "))
        else:
            prose = block
        for code in _INLINE.findall(prose):
            for part in code.split("&&"):
                yield from _started(part, fields=True)


def _started(code: str, *, fields: bool = False) -> Iterator[str]:
    code = " ".join(code.split())
    if code.startswith(PREFIXES):
        yield code
    elif fields and code.startswith("--config="):
        yield f"{TRAIN} {code}"
    elif fields and re.match(r"--config\.\S+=", code):
        yield code


def _row(cells: list[str], heads: list[str]) -> Iterator[str]:
    """Commands of a row; heads are what the columns' `COMMAND …` says, kept for rows below."""
    heads += [""] * (len(cells) - len(heads))
    for number, cell in enumerate(cells):
        codes = _INLINE.findall(cell)
        if codes and codes[0].startswith(PREFIXES) and codes[0].endswith(" …"):
            heads[number] = codes[0].removesuffix(" …")
            continue
        head, _, first = heads[number].partition("\n")
        for position, code in enumerate(codes):
            if code.startswith(PREFIXES) or not head:
                yield from _started(code, fields=True)
            elif f"add `{code}" in cell:  # to the first row's command
                yield f"{first} {code}"
            elif position == 0:
                yield f"{head} {code}"
                heads[number] = f"{head}\n{first or f'{head} {code}'}"


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of `molphenix`: of each command (`embed`) and of its parts (`bench loss`)."""
    found, waiting = {}, [("", make_parser())]
    while waiting:
        name, parser = waiting.pop()
        found[name] = parser
        for action in parser._subparsers._group_actions if parser._subparsers else ():
            parts = dict(action.choices or ())
            waiting += [(f"{name} {part}".strip(), parts[part]) for part in parts]
    return found


def _chapters(page: pathlib.Path) -> Iterator[Text]:
    parts = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    for title, body in zip(["start", *parts[1::2]], parts[::2], strict=True):
        yield Text(f"{page.relative_to(ROOT)}: {title}", body)


def _docstrings() -> Iterator[Text]:
    for room in ("configs", "molphenix_jax"):
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text()
            if not any(word in text for word in (*PREFIXES, "--config")):
                continue
            # Statements alone, level by level: expressions are most of a tree and define nothing.
            nodes: list[ast.AST] = [ast.parse(text)]
            for node in nodes:
                nodes += [of for of in ast.iter_child_nodes(node) if isinstance(of, _HOLDS)]
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    name = str(path.relative_to(ROOT))
                    if not isinstance(node, ast.Module):
                        name += f": {node.name}"
                    if body := ast.get_docstring(node, clean=True):
                        yield Text(name, body)


def _help_texts() -> Iterator[Text]:
    """What `--help` says beside the options; a line of it may be a command."""
    for name, parser in subcommands().items():
        lines = (f"{parser.description or ''}\n{parser.epilog or ''}").splitlines()
        body = "\n".join(f"    {x}" if x.startswith(PREFIXES) else x.strip() for x in lines)
        # Goes on in the next line: no paragraph between.
        body = re.sub(r"\\\n\s*", " ", body)
        yield Text(f"molphenix {name} --help".replace("  ", " "), body)
