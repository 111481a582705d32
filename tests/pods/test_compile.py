"""`molphenix compile`: what it says with libtpu and without."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from molphenix_jax import cli, tasks
from molphenix_jax.bench.made.random_run import random_run
from molphenix_jax.bench.step import StepCase, make_config
from molphenix_jax.errors import InputError
from molphenix_jax.losses import make_loss
from molphenix_jax.pods.chips import CHIPS
from molphenix_jax.pods.collectives import collectives
from molphenix_jax.pods.described import ScreenSize, describe_run
from molphenix_jax.pods.program import compile_step
from molphenix_jax.pods.topology import pod_mesh
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.optimizer import optimizer_of
from molphenix_jax.runtime.step import make_step, state_shapes
from molphenix_jax.tasks.align.config import default_config

HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
needs_libtpu = pytest.mark.skipif(
    not HAS_LIBTPU, reason="libtpu is not installed: pip install 'molphenix-jax[tpu-compile]'"
)
# Of ml_collections, which loads config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
TINY = ["--config=s2l:size=tiny", "--config.loss.execution=ring", "--config.train.batch_size=32"]


def said(capsys, *options) -> str:
    assert cli.main(["compile", *options]) == 1
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed")
def test_without_libtpu_it_says_how_to_get_it(capsys):
    assert "pip install 'molphenix-jax[tpu-compile]'" in said(capsys, *TINY)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--config=gone"], "--config=gone is no config file"),
        (["--config=s2l", "--config.gone=1"], "no such config field: 'gone'"),
        (["--config=s2l", "--config.train.steps=0"], "train.steps"),
        (["--config=s2l", "--topology=v9:2x2"], "no chip 'v9'; give one of v4, v5e, v5p, v6e"),
    ],
)
def test_what_cannot_be_is_a_sentence(options, sentence, capsys):
    assert sentence in said(capsys, *options)


@pytest.mark.parametrize("options", [[], ["--config=s2l", "--gone=1"], ["--config=s2l", "x"]])
def test_what_is_no_option_is_usage(options):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compile", *options])
    assert ended.value.code == 2


def test_the_help_is_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compile", "--help"])
    assert not ended.value.code
    assert "--topology" in capsys.readouterr().out


@pytest.mark.slow
def test_a_described_run_has_the_stated_sizes():
    config = default_config(size="tiny")
    config.train.batch_size = 4096
    size = ScreenSize(wells=10_001, pairs=5_000, molecules=1_000, width=96)
    described = describe_run(config, meshes.make_mesh(8), size)
    tables = described.tables
    assert tables.replicates.shape == (10_008, 96)
    assert tables.profile.shape == (5_000, 96)
    assert tables.molecule.shape == (5_000,)
    assert {block.shape[0] for block in tables.blocks.values()} == {1_000}
    assert tables.replicates.sharding.num_devices == 8
    assert described.batch.perturbation.shape == (4096,)
    assert described.batch.replicate.shape[0] == described.batch.weight.shape[0] == 4096


@pytest.mark.slow
def test_shapes_are_those_of_tables_that_are_placed(cache, tmp_path):
    from tests import tiny

    config, mesh = tiny.config(cache), meshes.make_mesh(8)
    run = tasks.make(config, mesh, tmp_path).run(0, tmp_path)
    placed, shapes = run.place_tables(mesh), run.table_shapes(mesh)
    told = jax.tree.map(lambda a: (a.shape, a.dtype, a.sharding), placed)
    assert jax.tree.map(lambda a: (a.shape, a.dtype, a.sharding), shapes) == told


def test_a_batch_that_does_not_divide_is_refused():
    config = default_config(size="tiny")
    config.train.batch_size = 12
    with pytest.raises(InputError, match="batch_size=12 cannot be spread over 8 chips"):
        describe_run(config, meshes.make_mesh(8), ScreenSize())


@pytest.mark.slow
def test_a_spread_state_takes_less_of_a_chip_and_is_gathered():
    """On simulated devices of the CPU, which compile as a pod's do."""
    mesh, programs = meshes.make_mesh(8), []
    for sharded in (False, True):
        config = default_config(size="tiny")
        config.train.update(batch_size=32, shard_state=sharded)
        config.loss.execution = "ring"
        described = describe_run(config, mesh, ScreenSize(wells=1000, pairs=500, molecules=100))
        programs.append(
            compile_step(config, described, mesh, CHIPS["v5e"], topology="8", command="")
        )
    whole, spread = programs
    assert spread.memory["arguments"] < whole.memory["arguments"]
    kinds = [{each.kind for each in program.collectives} for program in programs]
    assert "all-gather" not in kinds[0]
    assert "all-gather" in kinds[1]


@needs_libtpu
def test_a_step_is_compiled_for_a_pod(tmp_path, capsys):
    out = tmp_path / "program.json"
    assert cli.main(["compile", *TINY, "--topology=v5e:2x2", f"--json={out}"]) == 0
    assert "32 rows on v5e:2x2, 4 chips" in capsys.readouterr().out
    program = json.loads(out.read_text())
    # The wells of a chip alone, 4 bytes for each number.
    assert program["memory"]["arguments"] > 2_150_000 / 4 * 1024 * 4
    kinds = {each["kind"]: each for each in program["collectives"]}
    assert set(kinds) == {"all-reduce", "collective-permute"}
    assert kinds["collective-permute"]["count"] % 4 == 0
    assert program["flops"] > 0


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "chips"), [("v4:2x2x1", 4), ("v4:4x4x4", 64), ("v5p:2x2x1", 4), ("v6e:2x4", 8)]
)
def test_a_device_is_a_chip(topology, chips):
    """Not one of the two cores of a v4, which have half of its memory each."""
    assert pod_mesh(topology)[0].devices.size == chips


@needs_libtpu
def test_the_step_of_the_bench_gathers_nothing_for_a_pod():
    """As `bench step` built it first: the batch whole on each chip, no placement of arguments."""
    mesh, chip = pod_mesh("v5e:2x2")
    config = make_config(StepCase(batch=1024, size="tiny"))
    config.loss.execution = "ring"
    config.data.device_memory_gib = chip.memory / 2**30
    run = random_run(config, mesh, perturbations=2048, width=1024)
    tx = optimizer_of(run, config.train)
    whole = meshes.replicated(mesh)
    state, batch = (
        meshes.abstract(tree, whole) for tree in (state_shapes(run, tx, members=1), run.batch(0))
    )
    step = jax.jit(make_step(run, tx, members=1, seed=config.seed), donate_argnums=0)
    compiled = step.lower(state, batch, run.table_shapes(mesh)).compile()
    text = compiled.as_text() or ""
    assert {each.kind for each in collectives(text)} == {"all-reduce", "collective-permute"}
    assert "all-gather" not in text


@needs_libtpu
def test_several_pods_are_one_page(tmp_path):
    page, out = tmp_path / "SCALING.md", tmp_path / "programs.json"
    wanted = ["--topology=v5e:2x2+v5e:2x4", "--rows-per-chip=8", "--wells=100000"]
    assert cli.main(["compile", *TINY, *wanted, f"--page={page}", f"--json={out}"]) == 0
    assert [(each["chips"], each["rows"]) for each in json.loads(out.read_text())] == [
        *((4, 32), (8, 64))
    ]
    assert page.read_text().count("| v5e:2x2 |") == 2
    assert "--rows-per-chip=8" in page.read_text()


@needs_libtpu
@pytest.mark.slow
def test_two_may_compile_at_once(tmp_path):
    """libtpu refuses a second process by default, as if there were chips to share."""
    program = "from molphenix_jax.pods.topology import pod_mesh\n"
    program += "pod_mesh('v5e:2x2'); print('ready', flush=True); input()"
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    both = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in "12"
    ]
    told = [process.stdout.readline() for process in both if process.stdout]
    ended = [process.communicate("\n") for process in both]
    assert told == ["ready\n"] * 2, ended


@needs_libtpu
def test_what_does_not_fit_is_refused(capsys):
    sentence = said(capsys, *TINY, "--topology=v5e:2x2", "--wells=20000000")
    assert "32 rows on v5e:2x2" in sentence
    assert "lower train.batch_size" in sentence


@needs_libtpu
def test_the_loss_of_a_pod_gathers_nothing_and_is_small():
    """S2L of 65,536 pairs, 512 numbers each: dense, a chip would hold 65,536² logits, 6.5 GiB."""
    mesh, _ = pod_mesh("v5e:4x4")
    loss = make_loss("s2l", execution="ring", mesh=mesh)
    z, profile = (
        jax.ShapeDtypeStruct((65_536, width), jnp.float32, sharding=meshes.rows(mesh))
        for width in (512, 1024)
    )

    def value(z_x, z_m, profile):
        return loss(z_x, z_m, scale=10.0, bias=-5.0, profile=profile, null_constant=2048.0)[0]

    compiled = jax.jit(jax.grad(value, argnums=(0, 1))).lower(z, z, profile).compile()
    assert "all-gather" not in (compiled.as_text() or "all-gather")
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes <= 64 * 2**20
