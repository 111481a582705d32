"""`molphenix cache`: what the cache folder holds, and how to be rid of it."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import positive


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "cache",
        help="where prepared screens and molecules are kept, and how large they are",
        description="Lists what the cache folder holds: prepared screens, graphs, standard forms, "
        "images, simulated wells. All of it is made again when it is needed.",
    )
    parser.add_argument(
        "--folder",
        default="",
        metavar="DIR",
        help="data.cache of a run (default: $MOLPHENIX_CACHE or the user's cache folder)",
    )
    parser.add_argument("--clear", action="store_true", help="remove it")
    parser.add_argument(
        "--older-than", type=positive, metavar="DAYS", help="only what was made so long ago"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import time

    import rich.box
    import rich.markup
    import rich.table

    from molphenix_jax import storage
    from molphenix_jax.memory import in_words
    from molphenix_jax.runtime.progress import console, say

    folder = storage.cache_folder(arguments.folder)
    shown = rich.table.Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("in the cache")
    shown.add_column("size", justify="right")
    shown.add_column("days old", justify="right")
    chosen: list[tuple[pathlib.Path, int]] = []
    for path in storage.cached(folder):
        days = (time.time() - path.stat().st_mtime) / 86_400
        if arguments.older_than is None or days >= arguments.older_than:
            chosen.append((path, _bytes_of(path)))
            size = in_words(chosen[-1][1])
            shown.add_row(rich.markup.escape(path.name), size, f"{days:.1f}")
    if chosen:
        console.print(shown)
    total = in_words(sum(size for _, size in chosen))
    say(f"{folder}: {len(chosen):,} entries, {total}")
    if not arguments.clear:
        return 0
    left = []
    for path, _ in chosen:
        # Whoever makes it at the moment is waited for; who has it open keeps what is open.
        with storage.waiting_lock(path, doing="removed", say=say):
            storage.remove(path)
        if path.exists():
            left.append(path)
    if left:
        say(f"error: {len(left):,} entries cannot be removed, the first is {left[0]}")
        return 1
    say(f"removed {len(chosen):,} entries")
    return 0


def _bytes_of(path: pathlib.Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
