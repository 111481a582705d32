"""What a process makes of the records of the others, without any other process."""

import json
import time

import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from molphenix_jax.runtime.processes.job import Job

LIMIT_S = 300.0
OTHER = {"host": "there", "pid": 7, "phase": "train", "passed": 0}


class Records:
    """The coordination service of a job, in memory."""

    def __init__(self):
        self.of: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite
        self.of[key] = value

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        return [each for each in self.of.items() if each[0].startswith(key)]


class EndedError(Exception):
    pass


@pytest.fixture
def job(monkeypatch) -> Job:
    made = Job(Records(), 0, 2, timeout_s=LIMIT_S)

    def end(status: int, sentence: str):
        raise EndedError(status, sentence)

    monkeypatch.setattr(made, "end", end)
    return made


def hear(job: Job, position: float | None) -> None:
    """The other tells where it is, and this process looks."""
    record = {**OTHER, "beat": time.monotonic_ns(), "position": position}
    job.client.key_value_set("molphenix/1", json.dumps(record), allow_overwrite=True)
    job.look()


def miss(job: Job, later_s: float, *, heard: bool = True) -> None:
    """What this process finds so much later; meanwhile it has heard the same of the other."""
    now = time.monotonic() + later_s
    job._answered = now
    if heard:
        job._seen[1].heard = now
    job._miss(now)


def test_all_that_stand_at_one_update_end_after_many_limits(job):
    job.note(position=4.5)
    hear(job, 4.5)
    miss(job, 11.5 * LIMIT_S)
    with pytest.raises(EndedError) as ended:
        miss(job, 12.5 * LIMIT_S)
    status, sentence = ended.value.args
    assert status == LOST_STATUS
    assert "all 2 processes have stood at update 4 for 3750 s" in sentence
    assert "raise runtime.timeout_s" in sentence


@pytest.mark.parametrize(("here", "there"), [(4.5, 4.75), (None, 4.5), (4.5, None), (None, None)])
def test_outside_of_training_and_behind_another_nobody_ends_for_it(job, here, there):
    """Who is behind is missed by who is ahead; a phase without updates has no limit."""
    job.note(position=here)
    hear(job, there)
    miss(job, 100 * LIMIT_S)


def test_one_that_is_ahead_ends_where_the_other_stands_still(job):
    job.note(position=5.0)
    hear(job, 4.75)
    miss(job, 0.9 * LIMIT_S)
    with pytest.raises(EndedError, match="stands still: it has been at update 4") as ended:
        miss(job, 1.1 * LIMIT_S)
    assert ended.value.args[0] == LOST_STATUS


def test_one_of_which_nothing_is_heard_is_lost(job):
    hear(job, 4.5)
    miss(job, 0.9 * LIMIT_S, heard=False)
    with pytest.raises(EndedError, match=r"process 1 of 2 \(PID 7 on host there\) is lost"):
        miss(job, 1.1 * LIMIT_S, heard=False)
