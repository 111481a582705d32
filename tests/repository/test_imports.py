"""Who may import whom (docs/architecture.md): imports point against the flow of the data."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "molphenix_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "extras", "memory", "parts", "plugins", "signals", "stages", "storage"}
ARRAY_ROOMS = {"molecules", "phenomics", "models", "losses", "evaluation"}
DATA_ROOMS = {"wells", "screens", "images", "simulated"}
# Room → the rooms it may import besides itself.
ALLOWED = {
    **dict.fromkeys(ARRAY_ROOMS, BASE),
    "molecules": {"tables"} | BASE,
    "errors": set(),
    "extras": {"errors"},
    "memory": {"errors"},
    "parts": {"errors"},
    "plugins": {"errors", "parts"},
    "signals": set(),
    "stages": {"extras"},
    "storage": {"errors"},
    "tables": BASE,
    "phenomics": {"tables"} | BASE,
    "wells": {"tables", "molecules", "phenomics"} | BASE,
    "simulated": {"molecules"} | BASE,
    "screens": {"tables", "wells", "molecules", "phenomics", "simulated"} | BASE,
    "images": {"tables", "wells", "phenomics"} | BASE,
    "retrieval": {"trained", "models", "molecules", "phenomics", "runtime", "tables", "wells"}
    | BASE,
    "trained": {"models", "molecules", "phenomics", "tables", "wells"} | BASE,
    "runtime": BASE,
    "reporting": {"evaluation"} | BASE,
    "published": {"tables", "wells", "screens", "molecules", "phenomics", "evaluation", "retrieval"}
    | BASE,
    "tasks": {"tables", "runtime", "reporting", "trained"} | DATA_ROOMS | ARRAY_ROOMS | BASE,
    "train": {"tasks", "runtime"} | BASE,
    "ablations": {"train", "tasks", "evaluation", "reporting", "runtime"} | BASE,
    "figures": {
        *("tasks", "retrieval", "trained", "evaluation", "reporting", "molecules", "runtime"),
        *("wells", "losses", *BASE),
    },
    "enrichment": {
        *("tasks", "evaluate", "evaluation", "reporting", "molecules", "runtime", "screens"),
        *("tables", "wells", *BASE),
    },
    "evaluate": {"train", "tasks", "trained", "runtime"} | BASE,
}
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


def room_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: pathlib.Path, *, at_once: bool = False) -> set[str]:
    """Full names of the modules that a file imports: wherever in it, or as it is imported."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms(path: pathlib.Path) -> set[str]:
    own = [name.split(".") for name in imported(path)]
    return {parts[1] for parts in own if parts[0] == "molphenix_jax" and len(parts) > 1}


def test_the_reader_of_imports_sees_them():
    found = rooms(PACKAGE / "tasks" / "align" / "training" / "run.py")
    assert {"screens", "losses", "models", "runtime"} <= found


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_rooms_import_only_what_the_plan_allows(path):
    room = room_of(path)
    if room in ALLOWED:
        assert rooms(path) - {room} <= ALLOWED[room]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_only_the_loop_the_commands_and_benchmarks_import_tasks(path):
    allowed = (
        *("tasks", "train", "evaluate", "ablations", "figures", "enrichment"),
        *("main", "commands", "bench", "pods"),
    )
    if room_of(path) not in allowed:
        assert "tasks" not in rooms(path)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_rdkit_stays_in_its_room(path):
    chemistry = {name for name in imported(path) if name.split(".")[0] == "rdkit"}
    assert room_of(path) == "molecules" or not chemistry


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_what_takes_a_second_to_import_is_imported_where_it_is_used(path):
    """So that a mistake in a command line, or `--help`, need not wait for it."""
    slow = ("sklearn", "scipy.stats")
    if room_of(path) != "reporting":  # the room of matplotlib
        slow += ("matplotlib", "molphenix_jax.reporting")
    assert not [name for name in imported(path, at_once=True) if name.startswith(slow)]
