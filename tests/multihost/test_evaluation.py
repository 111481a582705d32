"""Several real processes evaluate one run, each its share of it."""

import pathlib
import signal
import sys
import time

import pandas as pd
import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from tests import tiny
from tests.multihost import jobs

pytestmark = pytest.mark.long
# Each process then has several chunks of rows and of queries, and sends in several pieces.
FEW_AT_ONCE = """
from molphenix_jax.evaluation import ranks
from molphenix_jax.runtime.processes import arrays
from molphenix_jax.trained import sides

sides.CHUNK = 4
arrays._BYTES_AT_ONCE = 1 << 10
ranks.rank_of_positive.__kwdefaults__["chunk_size"] = 3
"""
# The first works alone then, until somebody ends it.
ENDLESS = (
    FEW_AT_ONCE
    + """
import time

from molphenix_jax.tasks.align.task import AlignTask

AlignTask.conclude = lambda *_: time.sleep(3600)
"""
)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("evaluation") / "run"
    done = tiny.run(workdir, cache, train__devices=0)
    assert done.returncode == 0, done.stdout
    workdir.with_name("few.py").write_text(FEW_AT_ONCE)
    workdir.with_name("endless.py").write_text(ENDLESS)
    return workdir


def command(workdir: pathlib.Path, name: str, *, plugin: str = "few.py") -> list[str]:
    fields = {"eval.baselines": "knn,ridge", "runtime.timeout_s": jobs.TIMEOUT_S}
    return [
        *(sys.executable, "-m", "molphenix_jax.main", "--mode=evaluate"),
        *(f"--workdir={workdir}", f"--plugin={workdir.with_name(plugin)}", f"--name={name}"),
        *(f"--config.{field}={value}" for field, value in fields.items()),
    ]


@pytest.mark.parametrize("n", [2, pytest.param(5, marks=pytest.mark.soak)])
def test_the_ranks_of_several_processes_are_those_of_one(n, trained, cache):
    for name, of in (("one", 1), (str(n), n)):
        job = jobs.start(of, command(trained, name), cache)
        assert job.wait() == [0] * of, job.text(0)
    one, several = (trained / "evaluations" / name for name in ("one", str(n)))
    ranks = pd.read_parquet(one / "ranks.parquet")
    assert {"molphenix", "knn", "ridge"} <= set(ranks.columns)
    assert ranks["n_gallery"].max() > 2 * 3 * n  # every process ranks some queries
    pd.testing.assert_frame_equal(ranks, pd.read_parquet(several / "ranks.parquet"))
    assert (one / "evaluation.json").read_bytes() == (several / "evaluation.json").read_bytes()


@pytest.mark.soak
@pytest.mark.parametrize("index", [0, 1])
def test_one_that_is_killed_while_they_evaluate_is_named_and_the_others_end(index, trained, cache):
    name = f"killed-{index}"
    job = jobs.start(2, command(trained, name, plugin="endless.py"), cache)
    job.wait_for(trained / "evaluations" / name / "request.json")
    time.sleep(5)  # beats are two seconds apart: the other has heard of the phase
    job.send(signal.SIGKILL, index)
    statuses = job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    assert statuses[1 - index] == LOST_STATUS, job.text(1 - index)
    assert f"process {index} of 2 (PID {job.processes[index].pid}" in job.text(1 - index)
    assert "in the phase 'evaluate'" in job.text(1 - index)
    assert not (trained / "evaluations" / name / "evaluation.json").exists()
    again = jobs.start(2, command(trained, name), cache)
    assert again.wait() == [0, 0], again.text(0)
