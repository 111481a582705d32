"""What a ring sends and holds, and that real processes can form one."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from molphenix_jax.losses import make_loss
from tests.losses import cases

pytestmark = pytest.mark.slow

FAMILIES = ("cwcl", "cloome", "s2l-mixture")  # one loss of each


def compile_step(case, n, *, width=8, masked=True, **execution):
    """Value and gradient for n rows, compiled; sharded where there is a mesh."""
    name, options = cases.CASES[case]
    loss = make_loss(name, **execution, **options)
    mesh = execution.get("mesh")
    split = NamedSharding(mesh, PartitionSpec("data")) if mesh else None

    def step(z_x, z_m, profile, mask):
        def value(z_x, z_m, scale, bias):
            return loss(
                z_x,
                z_m,
                scale=scale,
                bias=bias,
                profile=profile,
                null_constant=6.0,
                mask=mask if masked else None,
            )

        return jax.value_and_grad(value, argnums=(0, 1, 2, 3), has_aux=True)(z_x, z_m, 9.0, -3.0)

    z = jax.ShapeDtypeStruct((n, width), jnp.float32, sharding=split)
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_, sharding=split)
    return jax.jit(step).lower(z, z, z, mask).compile(compiler_options=cases.QUICK)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case in FAMILIES else pytest.mark.long)
        for case in cases.CASES
    ],
)
def test_a_ring_passes_blocks_on_and_gathers_nothing(case):
    n, devices = 1024, 8
    text = compile_step(case, n, execution="ring", mesh=cases.ring_of(devices)).as_text()
    assert "collective-permute" in text
    assert "all-gather" not in text
    assert "all-to-all" not in text
    # No device holds more than its own rows and one block: no array has all rows in any axis.
    sizes = {int(size) for dims in re.findall(r"\[([\d,]+)\]", text) for size in dims.split(",")}
    assert n // devices in sizes
    assert n not in sizes


@pytest.mark.parametrize("case", [pytest.param("clip", marks=pytest.mark.long), "cwcl", "s2l"])
def test_chunked_memory_is_linear_in_the_batch(case):
    def memory(n, **execution):
        return compile_step(case, n, **execution).memory_analysis().temp_size_in_bytes

    small, large = (memory(n, execution="chunked", chunk_size=64) for n in (1024, 8192))
    assert large <= 8.5 * small
    assert memory(8192) >= 20 * large  # dense


@pytest.mark.parametrize("case", ["cloome", pytest.param("hopfield_clip", marks=pytest.mark.long)])
def test_retrieved_patterns_are_not_held_more_often_than_needed(case):
    """Two recalls, the pulls on them, and two more: of fifteen [n, d] that autodiff would hold."""
    n, d = 8192, 512
    options = {"width": d, "masked": False}
    chunked = compile_step(case, n, execution="chunked", **options).memory_analysis()
    assert chunked.temp_size_in_bytes <= 8 * 4 * n * d
    dense = compile_step(case, n, **options).memory_analysis()
    assert chunked.temp_size_in_bytes <= dense.temp_size_in_bytes / 25


PROCESS = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from molphenix_jax.losses import make_loss
from tests.losses import cases

assert jax.device_count() == 4 and jax.local_device_count() == 2
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("data"))
batch = cases.make_batch()
z_x, z_m, profile, mask = (
    jax.make_array_from_callback(a.shape, split, lambda at, a=a: a[at])
    for a in (batch.z_x, batch.z_m, batch.profile, batch.mask)
)
result = {}
for case in sys.argv[3].split(","):
    name, options = cases.CASES[case]
    loss = make_loss(name, execution="ring", mesh=mesh, **options)

    def step(z_x, z_m, profile, mask):
        def value(z_x, z_m, scale):
            return loss(z_x, z_m, scale=scale, bias=cases.BIAS, profile=profile,
                        null_constant=cases.NULL_CONSTANT, mask=mask)[0]
        value, (g_x, g_m, g_scale) = jax.value_and_grad(value, argnums=(0, 1, 2))(
            z_x, z_m, cases.SCALE)
        return value, (g_x**2).sum(), (g_m**2).sum(), g_scale

    inputs = (z_x, z_m, profile, mask)
    compiled = jax.jit(step).lower(*inputs).compile(compiler_options=cases.QUICK)
    result[case] = [float(each) for each in compiled(*inputs)]
print(json.dumps(result))
"""


@pytest.mark.long
def test_two_processes_give_the_numbers_of_one():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    environment.pop("XLA_FLAGS", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(process), ",".join(FAMILIES)],
            env=environment,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        finished = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, finished, strict=True):
        assert process.returncode == 0, errors
    results = [json.loads(output.splitlines()[-1]) for output, _ in finished]
    assert results[0] == results[1]
    assert results[0].keys() == set(FAMILIES)
    for case, (value, square_x, square_m, g_scale) in results[0].items():
        expected, (g_x, g_m, expected_scale, _) = cases.expected(case)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(square_x, np.sum(g_x**2), rtol=1e-3)
        np.testing.assert_allclose(square_m, np.sum(g_m**2), rtol=1e-3)
        np.testing.assert_allclose(g_scale, expected_scale, rtol=1e-3, atol=1e-4)
