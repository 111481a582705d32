"""What is made once and then opened: by one process, while others that want it wait.

A look, the lock, another look, the work under a private name, and publication in one step. So the
reader of a finished cache writes nothing and needs no right to, and a kill leaves nothing under the
cache's own name.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Callable, Iterator

import platformdirs

from molphenix_jax.storage.files import new_file, new_folder, remove
from molphenix_jax.storage.locks import waiting_lock

# How every entry of the cache folder is called: what it is, and a digest; no other file is ours.
_ENTRY = re.compile(r"[^.].*-[0-9a-f]{16}(\.parquet|\.npz)?|simulated-images-\d+")


def cache_folder(configured: str) -> pathlib.Path:
    """The configured folder, or $MOLPHENIX_CACHE, or the user's cache folder."""
    return pathlib.Path(
        configured or os.environ.get("MOLPHENIX_CACHE") or platformdirs.user_cache_dir("molphenix")
    )


def cached(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """What lies in a cache folder under names that caches have, in order of their names."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _ENTRY.fullmatch(path.name):
                yield path


def make_folder_once(
    folder: pathlib.Path,
    fill: Callable[[pathlib.Path], None],
    *,
    doing: str = "made",
    whole: Callable[[pathlib.Path], bool] = pathlib.Path.exists,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Makes a folder, unless it is there.

    Args:
        folder: The folder.
        fill: Called with a private empty folder that becomes `folder`.
        doing: What others are told is done to it.
        whole: Whether what lies there is complete; what is not goes, once there is a better one.
        say: Is told once for whom this process waits.

    Returns:
        Whether this call made it.

    Raises:
        StorageError: It cannot be written.
    """
    return _make_once(new_folder, folder, fill, doing, whole, say)


def make_file_once(
    path: pathlib.Path,
    write: Callable[[pathlib.Path], None],
    *,
    doing: str = "made",
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Makes a file, unless it is there: `write` fills a private one. See `make_folder_once`."""
    return _make_once(new_file, path, write, doing, pathlib.Path.exists, say)


def _make_once(
    new: Callable[[pathlib.Path], contextlib.AbstractContextManager[pathlib.Path]],
    path: pathlib.Path,
    make: Callable[[pathlib.Path], None],
    doing: str,
    whole: Callable[[pathlib.Path], bool],
    say: Callable[[str], None],
) -> bool:
    if whole(path):
        return False
    with waiting_lock(path, doing=doing, say=say):
        if whole(path):
            return False
        with new(path) as private:
            make(private)
            if path.exists():
                remove(path)
    return True
