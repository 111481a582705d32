"""What is claimed of bits, on another machine: fewer instructions, and LLVM's optimisations on."""

import os
import subprocess
import sys

import pytest

from tests import quick, tiny

# All other tests run with the instructions of this machine and without those optimisations.
FLAGS = f"{quick.EIGHT_DEVICES} --xla_cpu_max_isa=SSE4_2"
CLAIMS = (
    "tests/training/test_dispatch.py::test_metrics_are_those_of_one_at_a_time[5]",
    "tests/training/test_dispatch.py::test_a_stop_between_two_dispatches_continues_with_the_next_batch",
    "tests/losses/test_identities.py::test_order_of_rows_does_not_matter",
)


@pytest.mark.long
def test_claims_hold_on_another_cpu():
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", *CLAIMS],
        cwd=tiny.REPOSITORY,
        env={**own, "XLA_FLAGS": FLAGS, "PYTHONPATH": str(tiny.REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
