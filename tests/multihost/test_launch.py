"""The files of `launch/`: linted, and run with stand-ins for the programs of a cluster."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs

LAUNCH = tiny.REPOSITORY / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))


def tool(name: str) -> str:
    """A program, in the folder of this Python or elsewhere; without it the test is skipped."""
    beside = pathlib.Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_there_are_scripts():
    assert {path.name for path in SCRIPTS} == {
        *("local_processes.sh", "slurm.sh", "tpu_pod.sh", "xpk.sh")
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    done = subprocess.run([tool("shellcheck"), path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing():
    command = [tool("hadolint"), LAUNCH / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def stand_in(folder: pathlib.Path, name: str, body: str) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)
    return path


def free_job() -> str:
    """The ID of a job whose port, as JAX derives it, is free."""
    for job in range(os.getpid() % 4096, 8192):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", job % 4096 + 61440)):
                return str(job)
    raise AssertionError("no port is free")


def slurm(tmp_path: pathlib.Path, cache: pathlib.Path, **changes) -> subprocess.Popen:
    """The batch script as Slurm starts it, with two tasks; `requeued` gets what is queued again."""
    bin_ = tmp_path / "bin"
    stand_in(bin_, "scontrol", f'echo "$@" >> {tmp_path}/requeued')
    shutil.copy(pathlib.Path(__file__).with_name("srun"), bin_)
    environment = {
        **tiny.environment(cache),
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SLURM_JOB_ID": free_job(),
        "SLURM_NTASKS": "2",
    }
    arguments = tiny.command(tmp_path / "run", cache, **{**jobs.FIELDS, **changes})[3:]
    return subprocess.Popen(
        [LAUNCH / "slurm.sh", *arguments],
        env=environment,
        cwd=tiny.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.long
def test_slurm_starts_one_process_for_each_task(cache, tmp_path):
    few = {"train__steps": 2, "train__log_every": 1, "train__validate_every": 1}
    done = tiny.finish(slurm(tmp_path, cache, **few))
    assert done.returncode == 0, done.stdout
    assert "2 processes, 2 devices:" in done.stdout
    lines = read_metrics(tmp_path / "run" / METRICS_FILE)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    assert not (tmp_path / "requeued").exists()


@pytest.mark.soak
def test_slurm_queues_again_what_was_told_to_end(cache, tmp_path):
    process = slurm(tmp_path, cache, train__steps=100_000)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "step_5").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # As Slurm does: the step's tasks get it, and the batch shell where the job is preempted.
    children = subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    done = tiny.finish(process)
    assert done.returncode == 143, done.stdout
    assert (tmp_path / "requeued").read_text().startswith("requeue ")


@pytest.mark.parametrize("status", [0, 1, 2, 130, 134, 137, 142, 143])
def test_slurm_queues_again_what_a_restart_mends(status, tmp_path):
    bin_ = tmp_path / "bin"
    stand_in(bin_, "scontrol", f"touch {tmp_path}/requeued")
    stand_in(bin_, "srun", f"exit {status}")
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
    done = subprocess.run([LAUNCH / "slurm.sh"], env=environment, check=False, capture_output=True)
    assert done.returncode == status
    assert (tmp_path / "requeued").exists() == (status in (134, 137, 142, 143))


def test_every_host_of_a_slice_gets_the_flags_as_they_were_given(tmp_path):
    """The stand-in runs what `gcloud … ssh --worker=all` would run on each host."""
    home = tmp_path / "home"
    (home / "molphenix").mkdir(parents=True)
    stand_in(home / "molphenix" / "bin", "python", 'printf "%s\\n" "$@"; exit 143')
    body = (
        '[[ "$*" == *"--worker=all"* ]] || exit 9\n'
        'last="${*: -1}"\nHOME=$HOST_HOME bash -c "${last#--command=}"'
    )
    gcloud = stand_in(tmp_path, "gcloud", body)
    flags = ["--config=s2l:wells=a b.csv,size=tiny", "--workdir=/mnt/it's here"]
    done = subprocess.run(
        [LAUNCH / "tpu_pod.sh", "train", *flags],
        env={**os.environ, "GCLOUD": str(gcloud), "TPU": "t", "ZONE": "z", "HOST_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 143, done.stderr
    assert done.stdout.splitlines() == ["-m", "molphenix_jax.main", *flags]


def containers(manifest: dict) -> tuple[dict, dict]:
    """The job of a JobSet, and its pod."""
    (job,) = manifest["spec"]["replicatedJobs"]
    return job["template"]["spec"], job["template"]["spec"]["template"]["spec"]


def restarts(job: dict, status: int) -> bool:
    """Whether a JobSet starts again after an exit status, by its pod failure policy."""
    for rule in job["podFailurePolicy"]["rules"]:
        codes = rule["onExitCodes"]
        if (status in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"] != "FailJob"
    return True


def test_the_jobset_starts_again_what_a_restart_mends():
    manifest = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    job, pod = containers(manifest)
    assert {status for status in (1, 2, 134, 137, 142, 143) if restarts(job, status)} == {
        *(134, 137, 142, 143)
    }
    assert job["parallelism"] == job["completions"]
    assert pod["terminationGracePeriodSeconds"] > 30


def test_the_jobset_is_what_xpk_makes(tmp_path):
    """`xpk workload create --dry-run` needs no cluster."""
    out = tmp_path / "manifest.yaml"
    done = subprocess.run(
        [LAUNCH / "xpk.sh", "--config=s2l:size=tiny", "--workdir=/mnt/shared/first"],
        env={
            **os.environ,
            "XPK": tool("xpk"),
            "XPK_OPTIONS": f"--dry-run --output-manifest-file={out} --project=p",
            "HOME": str(tmp_path),
            **{"CLUSTER": "c", "ZONE": "us-east5-b", "TPU_TYPE": "v5litepod-16"},
            **{"IMAGE": "REGISTRY/molphenix", "NAME": "first"},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = yaml.safe_load(out.read_text())
    ours = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    (job, pod), (their_job, their_pod) = containers(ours), containers(theirs)
    for name in ("parallelism", "completions", "backoffLimit"):
        assert job[name] == their_job[name], name
    for name in ("terminationGracePeriodSeconds", "restartPolicy", "hostNetwork", "dnsPolicy"):
        assert str(pod[name]) == str(their_pod[name]), name
    chosen = {k: v for k, v in their_pod["nodeSelector"].items() if "tpu" in k}
    assert pod["nodeSelector"] == chosen
    (container,) = their_pod["containers"]
    assert "exec python -m molphenix_jax.main" in container["command"][-1]
    for status in (1, 2, 134, 137, 142, 143):
        assert restarts(their_job, status) == restarts(job, status), status
