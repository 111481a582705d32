"""The parts that docs/contributing.md shows: Python blocks that begin with the name of a file."""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "contributing.md"
_BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """File name → contents, as the page has them."""
    return dict(_BLOCK.findall(PAGE.read_text()))


def write(folder: pathlib.Path) -> None:
    """Each example as its file."""
    for name, code in examples().items():
        (folder / name).write_text(code)
