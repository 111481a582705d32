"""Files and folders that are whole or not there.

What is written gets a private name beside its place first: `.part-OWNER-RANDOM-NAME`, made so that
it cannot exist before, as a planted link to somebody's file would. Once it is whole and on the
disk it takes its own name in one step. A killed process leaves such a name behind; whoever next
writes into that folder removes it, for its name tells that its owner is dead.
"""

import contextlib
import csv
import errno
import json
import os
import pathlib
import re
import secrets
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from molphenix_jax.errors import InputError
from molphenix_jax.storage.owners import Owner, find_label, is_dead

# Leftovers of owners that this host cannot see go after a day without a change.
FOREIGN_AFTER_S = 24 * 3600.0
_LONGEST_NAME = 120  # bytes
# What a spreadsheet runs, also behind marks of text; a number begins so too.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)
# The same within a cell, where spreadsheets part cells that are written between commas: at
# semicolons in many countries, and there at line breaks too.
_WITHIN = r"(?<=[;\t\r\n])(?='*[=+\-@\uff1d\uff0b\uff0d\uff20])"
_UNMARKED = re.compile(rf"{_WITHIN}(?!({_NUMBER.pattern})\s*([;\t\r\n]|$))", re.IGNORECASE)
_MARKED = re.compile(_WITHIN.replace("?='*", "?=''*") + "'")
_REMEDY = {
    errno.ENOSPC: "free some space on that disk, or choose another folder",
    errno.EDQUOT: "your quota there is used up: free some space, or choose another folder",
    errno.EFBIG: "the file would be larger than that disk or your limits (ulimit -f) allow",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENOTDIR: "a file stands where a folder has to be: move it, or choose another folder",
    errno.EEXIST: "something else stands there: move it, or choose another folder",
    errno.EISDIR: "a folder stands where a file has to be: move it, or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk reports a fault",
}
# Of these alone it is certain that they come of writing, whatever they are wrapped in.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class StorageError(InputError):
    """A file or folder that cannot be written; names it, the reason and the remedy."""


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns what the disk refuses while `path` is written into a sentence.

    Raises:
        StorageError: The disk is full, the folder cannot be written to, and the like.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        code = _refusal(error, path)
        if code is None:
            raise
        remedy = _REMEDY.get(code, "choose another folder")
        raise StorageError(f"{path} cannot be written: {os.strerror(code)}; {remedy}") from error


def _refusal(error: BaseException, path: pathlib.Path) -> int | None:
    """The error number with which the disk refused to write `path`; None if it was not that."""
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.errno:
        named = pathlib.Path(error.filename)
        private = any(
            part.startswith((".part-", ".lock", f".{path.name}.")) for part in named.parts
        )
        if private or named in (path, *path.parents):
            return error.errno
    # Beam, ArrayRecord, Arrow and TensorStore keep the text, not always the type.
    cause: BaseException | None = error
    while cause is not None:
        for code in _OF_WRITING:
            if os.strerror(code) in str(cause):
                return code
        cause = cause.__cause__ or cause.__context__
    return None


@contextlib.contextmanager
def _told_as(path: pathlib.Path, private: pathlib.Path) -> Iterator[None]:
    """Has sentences about what is being written name `path`, where its user looks for it."""
    try:
        yield
    except InputError as error:
        error.args = tuple(
            part.replace(str(private), str(path)) if isinstance(part, str) else part
            for part in error.args
        )
        raise


def private_name(path: pathlib.Path) -> pathlib.Path:
    """A name beside `path` that nobody can foresee; it ends as `path` does."""
    path = pathlib.Path(os.path.abspath(path))  # "." has no name
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    name = f".part-{Owner.me().label}-{secrets.token_hex(8)}-{_end(path.name)}"
    return path.with_name(name)


def _end(name: str) -> str:
    """As much of the end of a name as fits behind an owner."""
    return os.fsencode(name)[-_LONGEST_NAME:].decode(errors="ignore")


def create(path: pathlib.Path) -> int:
    """Creates a file that must not be there and opens it for writing: its descriptor."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """A private folder in the system's place for such, for work that leaves nothing."""
    with tempfile.TemporaryDirectory(prefix="molphenix-") as folder:
        yield pathlib.Path(folder)


def _private(beside: pathlib.Path) -> pathlib.Path:
    """A private name in a folder that is there and holds nothing of dead owners."""
    private = private_name(beside)
    private.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(private.parent)
    return private


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private file to write; at the end of the block it takes the place of `path`.

    Folders are made. After an error `path` is as it was and the private file is gone.

    Raises:
        StorageError: It cannot be written.
    """
    path = pathlib.Path(path)
    with writing(path):
        private = _private(path)
        os.close(create(private))
        try:
            with _told_as(path, private):
                yield private
            _to_disk(private)
            private.replace(path)
        except BaseException:
            private.unlink(missing_ok=True)
            raise
        _to_disk(path.parent)


@contextlib.contextmanager
def new_folder(folder: pathlib.Path, *, replace: bool = False) -> Iterator[pathlib.Path]:
    """A private folder to fill; at the end of the block it becomes `folder`, unless that is there.

    Where another process made `folder` meanwhile, its result stays and this one goes; with
    `replace` the one that is there goes, whosever it is.

    Raises:
        StorageError: It cannot be written.
    """
    folder = pathlib.Path(folder)
    with scratch_folder(folder) as private:
        yield private
        for path in private.rglob("*"):
            _to_disk(path)
        _to_disk(private)
        try:
            private.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if replace:
                # Under a private name, which goes if this process is killed before it has it gone.
                old = private_name(folder)
                folder.rename(old)
                private.rename(folder)
                remove(old)
        _to_disk(folder.parent)


@contextlib.contextmanager
def scratch_folder(beside: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private folder on the same disk as `beside` for work that leaves nothing.

    Raises:
        StorageError: It cannot be written.
    """
    beside = pathlib.Path(beside)
    with writing(beside):
        private = _private(beside)
        private.mkdir()
        try:
            with _told_as(beside, private):
                yield private
        finally:
            shutil.rmtree(private, ignore_errors=True)


def set_aside(path: pathlib.Path, aside: pathlib.Path) -> None:
    """Keeps a file or folder under another name, in place of what has that name.

    Raises:
        StorageError: It cannot be written.
    """
    with writing(aside):
        aside.parent.mkdir(parents=True, exist_ok=True)
        remove(aside)
        path.rename(aside)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file as UTF-8.

    Raises:
        StorageError: It cannot be written.
    """
    with new_file(path) as private:
        private.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON with two blanks a level, keys in their order.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: pathlib.Path, table: pd.DataFrame | Iterable[pd.DataFrame]) -> None:
    """Writes a table as CSV, without its index; no cell of text is a formula to a spreadsheet.

    Such cells get an apostrophe in front, as spreadsheets mark text, and so does what follows a
    semicolon or line break within a cell; `read_csv` takes it away.

    Args:
        path: Of the file.
        table: Or tables of the same columns that follow each other, of which one is held at a time.

    Raises:
        StorageError: It cannot be written.
    """
    tables = [table] if isinstance(table, pd.DataFrame) else table
    with new_file(path) as private, private.open("w", encoding="utf-8", newline="") as file:
        for number, some in enumerate(tables):
            # Python leaves a carriage return unquoted, and readers take it for the end of the row.
            returns = any(
                "\r" in cell for _, of in some.items() for cell in of if isinstance(cell, str)
            )
            quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
            text = _each_text(some, _as_text)
            text.to_csv(file, index=False, header=not number, quoting=quoting)


def read_csv(path: pathlib.Path, **options: Any) -> pd.DataFrame:
    """Reads what `write_csv` wrote, also before it marked text; `options` are pandas'.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no table.
    """
    return _each_text(pd.read_csv(path, **options), _as_meant)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with each cell of text changed; numbers and gaps stay."""
    columns = {
        name: [change(cell) if isinstance(cell, str) else cell for cell in column]
        for name, column in table.items()
        if not pd.api.types.is_numeric_dtype(column)
    }
    return table.assign(**{str(name): cells for name, cells in columns.items()})


def _as_text(cell: str) -> str:
    cell = _UNMARKED.sub("'", cell)
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _as_meant(cell: str) -> str:
    cell = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _MARKED.sub("", cell)


def write_npz(path: pathlib.Path, **arrays: Any) -> None:
    """Writes arrays as one NumPy archive.

    Raises:
        StorageError: It cannot be written.
    """
    with new_file(path) as private, private.open("wb") as file:
        np.savez(file, **arrays)


def read_npz(
    path: str | os.PathLike[str], names: Collection[str] | None = None, *, what: str
) -> dict[str, np.ndarray]:
    """Arrays of a NumPy archive, by name; None takes all.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no archive, is damaged, or lacks an array; says that it is not `what`.
    """
    try:
        # Opened here: np.load leaves the file open if it is no archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (arrays.files if names is None else names)}
    except (LookupError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)}: not {what} ({error})") from error


def remove_leftovers(folder: pathlib.Path, *, of: str | None = None) -> None:
    """Removes from a folder what dead processes left half written there.

    Args:
        folder: Need not be there; folders below it are not looked at.
        of: Name whose lock the caller holds: nobody else writes it, so what an owner that cannot be
            seen from here left of it goes too.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        label = find_label(name, r"\.part-", r"-[0-9a-f]{16}-.*")
        if label is None:
            continue
        path, dead = folder / name, is_dead(label)
        if dead is None:
            ours = of is not None and name.endswith(f"-{_end(of)}")
            dead = ours or _age_s(path) > FOREIGN_AFTER_S
        if dead:
            remove(path)


def remove(path: pathlib.Path) -> None:
    """Removes a file, a link or a folder, as far as that is allowed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _age_s(path: pathlib.Path) -> float:
    """Seconds since the last change of a file, or within a folder."""
    newest = 0.0
    with contextlib.suppress(OSError):
        for each in (path, *path.rglob("*")):
            newest = max(newest, each.lstat().st_mtime)
    return _now(path.parent) - newest


def _now(folder: pathlib.Path) -> float:
    """The time by the clock that a folder's files have theirs of; this host's may be wrong."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()  # a folder that cannot be written


def _to_disk(path: pathlib.Path) -> None:
    """Has the system write a file or the entries of a folder, so that a power cut finds them."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return  # some systems open no folders
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
