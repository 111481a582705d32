"""Orbax checkpoints that survive a kill at any moment and a damaged newest file.

One checkpoint holds the training state, the assets that make the model usable without its screen,
and the position in the data. Checkpoint k means: k updates done, batch k not yet taken.
"""

import contextlib
import json
import logging
import pathlib
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from molphenix_jax import signals
from molphenix_jax.errors import InputError, first_line
from molphenix_jax.runtime.processes import barrier, everyone_says, is_first
from molphenix_jax.storage import StorageError, set_aside, writing

Found = TypeVar("Found")

CHECKPOINTS = "checkpoints"  # folder of a run, see `Checkpoints`
_SUMS = "check sums"  # in the position, see `_sums`
_LOOKS = 20  # at a folder whose checkpoints are deleted beside, see `_listed`


class CheckpointError(InputError):
    """No checkpoint of a run can be read."""


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        step: Updates done.
        state: Their result.
        assets: What the model needs beside it.
        position: Where the data continues.
        n_lines: Lines of metrics that were there; 0 where it does not tell.
    """

    step: int
    state: Any
    assets: Any
    position: Mapping[str, Any]
    n_lines: int = 0


class Checkpoints:
    """The checkpoints of one run in `folder`; the newest `keep` stay.

    With keep=None they are only read: nothing in the folder is made, moved or deleted, so that a
    training may write there meanwhile.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int | None):
        self._folder, self._reads_only = folder.resolve(), keep is None
        if self._reads_only:
            options = _only_read()
        else:
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep, step_prefix="step", cleanup_tmp_directories=True
            )
        self._traces = _no_traces()
        self._traces.__enter__()
        with _quiet():  # it warns that what is only read is only read
            self._manager = _listed(lambda: ocp.CheckpointManager(self._folder, options=options))

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, as they are now on the disk."""
        if not self._folder.is_dir():
            return []
        _listed(self._manager.reload)
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: Any, assets: Any, position: Mapping[str, Any], *, n_lines: int = 0
    ) -> None:
        """Starts writing (asynchronously) the state after `step` updates, unless it is there.

        Args:
            step: Updates done.
            state: Their result.
            assets: What the model needs beside it.
            position: What the data continues from, as JSON types.
            n_lines: Lines of metrics that are there.

        Raises:
            StorageError: This checkpoint, or the one before it, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        stored = _storable(assets)
        told = {"step": step, "data": dict(position), "n_lines": n_lines}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            assets=ocp.args.StandardSave(stored),
            position=ocp.args.JsonSave({**told, _SUMS: _sums(told, state=state, assets=stored)}),
        )
        with self._writing():
            self._manager.save(step, args=args, force=True)

    def restore_latest(
        self, abstract_state: Any, abstract_assets: Any, *, say: Callable[[str], None]
    ) -> Restored | None:
        """Restores the newest readable checkpoint, or returns None where there is none at all.

        A damaged checkpoint is set aside as `damaged-<step>` (unless they are only read) and the
        one before is taken; `say` is told. One that the training beside has deleted meanwhile is
        no damage: it has written a newer one.

        Raises:
            CheckpointError: There are checkpoints and none can be read.
        """
        damaged: list[int] = []
        while left := [step for step in self.steps() if step not in damaged]:
            try:
                return self._restore_alike(left[-1], abstract_state, abstract_assets)
            except CheckpointError as error:
                if self._reads_only and left[-1] not in self.steps():
                    continue
                damaged.append(left[-1])
                self._set_aside(left[-1])
                say(f"{error}; falling back to the one before")
        if damaged:
            aside = "" if self._reads_only else "; they were set aside as damaged-<step>"
            raise CheckpointError(
                f"none of the checkpoints {damaged} in {self._folder} can be read{aside}. Delete "
                "the workdir to train again."
            )
        return None

    def restore(
        self,
        step: int | None,
        abstract_state: Any,
        abstract_assets: Any,
        *,
        say: Callable[[str], None],
    ) -> Restored:
        """Restores the checkpoint of one step, or with None the newest readable one.

        Raises:
            CheckpointError: It is not there or cannot be read.
        """
        steps = self.steps()
        if step is None:
            restored = self.restore_latest(abstract_state, abstract_assets, say=say)
            if restored is None:
                raise CheckpointError(f"there is no checkpoint in {self._folder}: train first")
            return restored
        if step not in steps:
            raise CheckpointError(f"no checkpoint {step} in {self._folder}; there are {steps}")
        return self._restore(step, abstract_state, abstract_assets)

    def read_state(self, step: int) -> Any:
        """The state of a checkpoint as NumPy arrays, whatever its shapes: no device is needed.

        Raises:
            CheckpointError: It cannot be read.
        """
        restored = self._read(
            step,
            ocp.args.Composite(state=ocp.args.StandardRestore(), position=ocp.args.JsonRestore()),
        )
        return jax.tree.map(np.asarray, restored["state"])

    def _restore(self, step: int, abstract_state: Any, abstract_assets: Any) -> Restored:
        restored = self._read(
            step,
            ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state),
                assets=ocp.args.StandardRestore(_storable(abstract_assets)),
                position=ocp.args.JsonRestore(),
            ),
        )
        position = restored["position"]
        # Checkpoints of earlier versions hold the step alone, which says as much.
        data = position.get("data", {"next_index": position["step"]})
        assets = abstract_assets
        if jax.tree.leaves(assets):
            assets = jax.tree.map(
                lambda was, leaf: leaf if np.size(was) else np.asarray(was),
                abstract_assets,
                restored["assets"],
            )
        n_lines = position.get("n_lines", 0)
        return Restored(position["step"], restored["state"], assets, data, n_lines)

    def _restore_alike(self, step: int, abstract_state: Any, abstract_assets: Any) -> Restored:
        """Restores a checkpoint where every process of the job can; raises in all otherwise."""
        restored, damage = None, None
        try:
            restored = self._restore(step, abstract_state, abstract_assets)
        except CheckpointError as error:
            damage = str(error)
        found = [said for said in everyone_says(damage) if said is not None]
        if found or restored is None:
            raise CheckpointError(found[0])
        return restored

    def _read(self, step: int, items: Any) -> Any:
        """What was stored, as it was stored.

        Raises:
            CheckpointError: It cannot be read, or has changed since it was written.
        """
        restored = self._restored(step, items)
        position = restored["position"]
        expected = position.pop(_SUMS, None)
        if expected is None:  # of an earlier version
            return restored
        arrays = {name: restored[name] for name in ("state", "assets") if name in restored}
        for name, found in _sums(position, **arrays).items():
            if expected.get(name, found) != found:
                raise CheckpointError(
                    f"checkpoint {step} in {self._folder} is damaged: its {name} is not what was "
                    "written"
                )
        return restored

    def _restored(self, step: int, items: Any) -> Any:
        try:
            with _quiet():
                if self._reads_only or jax.process_count() == 1:
                    return self._manager.restore(step, args=items)
                alone = _listed(lambda: ocp.CheckpointManager(self._folder, options=_only_read()))
                with contextlib.closing(alone):
                    return alone.restore(step, args=items)
        except Exception as error:  # tensorstore and orbax raise many types on damage
            signals.stop_if_asked()  # they turn an interrupt into such, and nothing is damaged
            raise CheckpointError(
                f"checkpoint {step} in {self._folder} cannot be read "
                f"({first_line(error, most=160)})"
            ) from error

    def _set_aside(self, step: int) -> None:
        if self._reads_only:
            return
        path = self._folder / f"step_{step}"
        aside = self._folder / f"damaged-{step}"
        if is_first() and path.exists():
            set_aside(path, aside)
        barrier("set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Waits for running writes.

        Raises:
            StorageError: The last checkpoint could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for running writes and closes.

        Raises:
            StorageError: The last checkpoint could not be written.
        """
        try:
            with self._writing():
                self._manager.wait_until_finished()
                self._manager.close()
        finally:
            self._traces.__exit__()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Makes one sentence of what orbax and TensorStore raise and log on a full disk."""
        try:
            with writing(self._folder):
                yield
            return
        except StorageError as error:
            said = str(error)
        # Not from there: its frames hold coroutines that would complain when Python ends.
        raise StorageError(said)


def _only_read() -> ocp.CheckpointManagerOptions:
    """Of a manager that only reads, in this process alone.

    Where one of several cannot read a file, the others must not wait for it within orbax.
    """
    me = jax.process_index()
    return ocp.CheckpointManagerOptions(
        step_prefix="step",
        read_only=True,
        save_interval_steps=0,
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process-{me}"
        )
        if jax.process_count() > 1
        else ocp.options.MultiprocessingOptions(),
    )


def _listed(look: Callable[[], Found]) -> Found:
    """What orbax finds in a folder in which a training may write meanwhile.

    It lists the checkpoints and then asks each for its time. One that the training deleted in
    between is none to report: a newer one is there, and orbax looks again.
    """
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return look()
    return look()


def saved_steps(workdir: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints of a run (of one fold of it); only reads."""
    with contextlib.closing(Checkpoints(workdir / CHECKPOINTS, keep=None)) as checkpoints:
        return checkpoints.steps()


def _sums(position: Mapping[str, Any], **trees: Any) -> dict[str, int]:
    """A check sum of the position and of each tree: orbax notices damage in a part of it alone.

    None of a tree of which this process has a part alone.
    """
    sums = {"position": zlib.crc32(json.dumps(position, sort_keys=True).encode())}
    for name, tree in trees.items():
        leaves = [
            leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array | np.ndarray)
        ]
        if all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves):
            # In no order: trees that are read without their types come in another.
            of_leaves = sorted(_sum(np.asarray(leaf)) for leaf in leaves)
            sums[name] = zlib.crc32(np.array(of_leaves, np.uint32).data)
    return sums


def _sum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _storable(assets: Any) -> Any:
    """The assets as orbax writes them: it refuses trees without leaves too."""
    return jax.tree.map(_not_empty, assets) if jax.tree.leaves(assets) else {"none": np.zeros(1)}


def _not_empty(leaf: Any) -> Any:
    """A number in place of an array without elements, which orbax refuses to write."""
    return leaf if np.size(leaf) else np.zeros(1, np.asarray(leaf).dtype)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Whether a record of asyncio is none of an abandoned task of orbax or TensorStore."""
    if "exception was never retrieved" not in record.getMessage() or not record.exc_info:
        return True
    frames = traceback.walk_tb(record.exc_info[2])
    files = [frame.f_code.co_filename for frame, _ in frames]
    return not any(name in file for file in files for name in ("orbax", "tensorstore"))


class _no_traces:
    """Keeps off the terminal what threads of orbax and TensorStore print before they raise it."""

    def __enter__(self) -> None:
        absl_logging.get_absl_logger().addFilter(self._keep)
        # Stays: what an abandoned task of a failed write raised is logged when its garbage goes.
        logging.getLogger("asyncio").addFilter(_is_of_others)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable

    def __exit__(self, *_: object) -> None:
        absl_logging.get_absl_logger().removeFilter(self._keep)
        sys.unraisablehook = self._hook

    @staticmethod
    def _keep(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname

    def _unraisable(self, what: Any) -> None:
        # TensorStore's writes that end after orbax gave up.
        if "Event loop is closed" not in str(what.exc_value):
            self._hook(what)


class _quiet:
    """Keeps tensorstore's and asyncio's long traces of a damaged file off the terminal."""

    def __enter__(self) -> None:
        self._asyncio = logging.getLogger("asyncio")
        self._asyncio.addFilter(self._reject)
        self._level = absl_logging.get_verbosity()
        absl_logging.set_verbosity(absl_logging.FATAL)

    def __exit__(self, *_: object) -> None:
        self._asyncio.removeFilter(self._reject)
        absl_logging.set_verbosity(self._level)

    @staticmethod
    def _reject(_: logging.LogRecord) -> bool:
        return False
