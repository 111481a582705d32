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

from tests import tiny
from tests.multihost import jobs

LAUNCH = tiny.REPOSITORY / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
MADE_BY_XPK = tiny.REPOSITORY / "tests" / "golden" / "xpk_jobset.yaml"


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


def slurm(tmp_path: pathlib.Path, command: list[str], cache: pathlib.Path) -> subprocess.Popen:
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
    return subprocess.Popen(
        [LAUNCH / "slurm.sh", *command[3:]],
        env=environment,
        cwd=tiny.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def started_by(pid: int) -> list[int]:
    return [int(of) for of in subprocess.check_output(["pgrep", "-P", str(pid)]).split()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("the tasks are told to end", 143),
        *(
            pytest.param(fault, status, marks=pytest.mark.soak)
            for fault, status in (("the shell is told too", 143), ("a task is killed", 142))
        ),
    ],
)
def test_what_slurm_queues_again_continues_to_the_same_bits(
    fault, status, straight, cache, tmp_path
):
    """One process for each task; what `scontrol requeue` would start again is the same command."""
    run = tmp_path / "run"
    process = slurm(tmp_path, jobs.line(run), cache)
    deadline = time.monotonic() + jobs.PATIENCE_S
    while not (run / "checkpoints" / "step_5").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, tiny.finish(process).stdout
        time.sleep(0.001)
    (srun,) = started_by(process.pid)
    if fault == "a task is killed":
        os.kill(started_by(srun)[1], signal.SIGKILL)
    else:
        # As Slurm does: the step's tasks get it, and the batch shell where the job is preempted.
        os.kill(srun, signal.SIGTERM)
        if fault == "the shell is told too":
            process.send_signal(signal.SIGTERM)
    done = tiny.finish(process)
    assert done.returncode == status, done.stdout
    assert "2 processes, 2 devices:" in done.stdout
    assert (tmp_path / "requeued").read_text().startswith("requeue ")
    (tmp_path / "requeued").unlink()
    again = tiny.finish(slurm(tmp_path, jobs.line(run), cache))
    assert again.returncode == 0, again.stdout
    assert "continuing after update" in again.stdout
    assert not (tmp_path / "requeued").exists()
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("changes", "status"), [({"data__wells": "none.csv"}, 1), ({"train__stepz": 3}, 2)]
)
def test_slurm_does_not_queue_again_what_has_to_be_mended(changes, status, cache, tmp_path):
    command = jobs.alignment(tmp_path / "run", cache, **changes)
    done = tiny.finish(slurm(tmp_path, command, cache))
    assert done.returncode == status, done.stdout
    assert not (tmp_path / "requeued").exists()


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


def test_the_jobset_is_what_xpk_makes():
    theirs = yaml.safe_load(MADE_BY_XPK.read_text())
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


def test_what_xpk_makes_is_what_it_made(tmp_path):
    """`xpk workload create --dry-run` needs no cluster; xpk is in no extra of this project."""
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
    made = [
        [line.strip() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
        for path in (out, MADE_BY_XPK)
    ]
    assert made[0] == made[1]
