"""Beam's stages on a cluster of Dask with two workers, each a process of its own."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.screens.builders.write import record_source
from tests import tiny
from tests.screens import few_rows

FOUND = importlib.util.find_spec("distributed")
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(FOUND is None, reason="dask is not installed: pip install distributed"),
]
RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
SETS = ("molecules", "perturbations")


@pytest.fixture
def environment(cache, tmp_path) -> dict[str, str]:
    assert FOUND is not None
    assert FOUND.origin is not None
    (tmp_path / "worked").mkdir()
    paths = [str(tiny.REPOSITORY), str(pathlib.Path(FOUND.origin).parents[1])]
    return {
        **tiny.environment(cache),
        "PYTHONPATH": os.pathsep.join(paths),
        few_rows.WORKED: str(tmp_path / "worked"),
    }


@pytest.fixture
def scheduler(environment, tmp_path):
    """The file of a scheduler with two workers."""
    path = tmp_path / "scheduler.json"
    started = []

    def start(name: str, *arguments) -> None:
        with (tmp_path / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{name.rstrip('01')}"]
            more = [f"--scheduler-file={path}", "--no-dashboard", *map(str, arguments)]
            started.append(
                subprocess.Popen(
                    [*command, *more], env=environment, cwd=tmp_path, stdout=log, stderr=log
                )
            )

    start("scheduler", "--host=127.0.0.1", "--port=0")
    for i in range(2):
        preload = f"--preload={few_rows.__file__}"
        start(f"worker{i}", "--nthreads=1", "--no-nanny", "--host=127.0.0.1", preload)
    deadline = time.monotonic() + 120
    log = tmp_path / "scheduler.log"
    while log.read_text().count("Register worker") < 2:
        assert time.monotonic() < deadline, log.read_text()
        assert all(process.poll() is None for process in started), log.read_text()
        time.sleep(0.1)
    yield path
    for process in reversed(started):
        process.terminate()
        process.wait()


def prepare(wells: pathlib.Path, out: pathlib.Path, environment: dict, runner: str) -> None:
    command = [sys.executable, "-m", "tests.screens.few_rows", "prepare", str(wells)]
    options = ["--blocks=maccs", "--n_null=200", f"--out={out}"]
    done = subprocess.run(
        [*command, *options, f"--beam_pipeline_options=runner={runner}"],
        env=environment,
        cwd=tiny.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def records(folder: pathlib.Path, name: str) -> list[bytes]:
    """Of a data set, fields in a fixed order: protobuf writes them in any, at each start anew."""
    from tensorflow_datasets.proto import tf_example_pb2

    source = record_source(folder, name)
    return [
        tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)
        for record in source.__getitems__(range(len(source)))
    ]


def test_two_workers_prepare_the_same_bytes(scheduler, environment, cache, tmp_path):
    wells = tmp_path / "wells.parquet"
    table = pa.Table.from_pandas(tiny.wells(cache), preserve_index=False)
    pq.write_table(table, wells, row_group_size=50)
    here, there = tmp_path / "here", tmp_path / "there"
    prepare(wells, here, environment, "DirectRunner")
    assert not list((tmp_path / "worked").iterdir())
    options = f"{RUNNER},dask_scheduler_file={scheduler},dask_npartitions=8"
    prepare(wells, there, environment, options)
    assert len(list((tmp_path / "worked").iterdir())) == 2

    def files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
        return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}

    ours, theirs = files(here), files(there)
    assert ours.keys() == theirs.keys()
    held = {name for name in ours if ".array_record" in name}
    assert len(held) > 6
    for name in ours.keys() - held:
        told = [of[name].read_bytes() for of in (ours, theirs)]
        if name.endswith("shard_infos.json"):  # TFDS's, in the order in which shards were done
            told = [json.loads(of) for of in told]
        assert told[0] == told[1], name
    for name in SETS:
        assert records(here, name) == records(there, name)
