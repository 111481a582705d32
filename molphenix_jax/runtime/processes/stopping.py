"""The update after which all processes stop and save, once one of them is told to end."""

import threading
from typing import Any

from molphenix_jax import signals
from molphenix_jax.runtime.processes.job import Job, current


class Stopping:
    """Tells the training loop where to stop; the same place in each process.

    The loop names its place before each update: `at(step)` while it could still stop there,
    `beyond(step)` once it cannot. When a signal has come to any process, the thread of each tells
    the place of its loop, which then waits: not one of them may be in an update that others do not
    make. All go on to the furthest place that was told.
    """

    def __init__(self):
        self._job = current()
        self._lock = threading.Condition()
        self._position = -1.0  # the step, or half more once its update cannot be taken back
        self._told = False
        self._last: float | None = None
        if self._job is not None:
            self._job.on_asked = self._agree

    def at(self, step: int) -> bool:
        """Whether to stop with so many updates done."""
        return self._pass(step, float(step))

    def beyond(self, step: int) -> bool:
        """Whether to go back to `at` in place of making the update after `step`."""
        return self._pass(step, step + 0.5)

    def is_agreed(self) -> bool:
        """Whether processes have agreed on an update that is still ahead of this one."""
        return self._last is not None

    def dispatched(self, step: int) -> None:
        """The update after `step` is on its way on the devices."""
        if self._job is not None:
            self._job.note(position=step + 0.75)

    def close(self) -> None:
        """The loop has ended."""
        if self._job is not None:
            self._job.on_asked = None
            self._job.note(position=None)

    def _pass(self, step: int, position: float) -> bool:
        job = self._job
        if job is None:
            return signals.asked()
        with self._lock:
            while self._told and self._last is None:
                self._lock.wait(0.1)
            if self._last is not None and step >= self._last:
                self._wait_until_asked()
                return True
            self._position = position
            job.note(position=position)
            return False

    def _agree(self, records: dict[int, dict[str, Any]]) -> None:
        """Runs in the thread of the job, in each beat from the signal on."""
        job: Job | None = self._job
        assert job is not None, "it is called by the job"
        if self._last is not None:
            return
        with self._lock:
            if not self._told:
                self._told = True
                job.tell(stands=self._position)
            places = [of["stands"] for of in job.look().values() if "stands" in of]
            if len(places) == job.n:
                self._last = max(places)
                self._lock.notify_all()

    def _wait_until_asked(self) -> None:
        """The signal that the job's thread has sent to this process is on its way."""
        while not signals.asked():
            self._lock.wait(0.01)
