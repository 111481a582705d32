"""What devices send to each other, read from compiled programs."""

import jax
import jax.numpy as jnp
import pytest

from molphenix_jax.pods.collectives import Collective, collectives
from molphenix_jax.runtime import mesh as meshes

# In the form of libtpu: no trip counts, a condition with a constant, asynchronous pairs.
POD = """HloModule jit_steps, entry_computation_layout={}

%below.1 (p: (s32[], f32[8,4])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(4)
  %p = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %constant.1), direction=LT
}

%turn.1 (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %send = (f32[8,4]{1,0:S(1)}, f32[8,4]{1,0:S(1)}, u32[], u32[]) collective-permute-start(%x)
  ROOT %sent = f32[8,4]{1,0:T(8,128)S(1)} collective-permute-done(%send)
}

%unknown.1 (p: (s32[], s32[])) -> pred[] {
  ROOT %lt = pred[]{:T(512)} compare(%i, %n), direction=LT
}

%update.1 (p: (s32[], s32[])) -> (s32[], s32[]) {
  %ring = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) while(%t), condition=%below.1, body=%turn.1
  %all-reduce.1 = (f32[3]{0:T(128)}, bf16[2,2]{1,0:T(2,128)}) all-reduce(%a, %b), to_apply=%add
}

ENTRY %main.1 (a: s32[]) -> s32[] {
  ROOT %updates = (s32[]{:T(128)}, s32[]{:T(128)}) while(%t), condition=%unknown.1, body=%update.1
}
"""


def test_the_program_of_a_pod_is_read():
    assert collectives(POD) == [
        Collective("all-reduce", 1, 3 * 4 + 4 * 2),
        Collective("collective-permute", 4, 4 * 8 * 4 * 4),
    ]


# A collective that fusions carry along: started, twice beside other work, done.
CARRIED = """HloModule jit_steps, entry_computation_layout={}

%fused_computation.1 (p: f32[8,4]) -> (f32[8,4], f32[32,4], u32[]) {
  %all-gather.1 = f32[32,4]{1,0:T(8,128)} all-gather(%p), channel_id=5, dimensions={0}
  ROOT %s = (f32[8,4]) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.2 (p: f32[8,4], q: f32[8,8]) -> (f32[8,4], f32[32,4], f32[8,8]) {
  %all-gather.2 = f32[32,4]{1,0:T(8,128)S(1)} all-gather(%p), channel_id=5, dimensions={0}
}

%async_collective_fusion.3 (p: f32[8,4], q: f32[8,8]) -> (f32[8,4], f32[32,4], f32[8,8]) {
  %all-gather.3 = f32[32,4]{1,0:T(8,128)S(1)} all-gather(%p), channel_id=5, dimensions={0}
}

%fused_computation.4 (p: f32[8,4]) -> f32[32,4] {
  %all-gather.4 = f32[32,4]{1,0:T(8,128)} all-gather(%p), channel_id=5, dimensions={0}
  ROOT %d = f32[32,4] custom-call(%all-gather.4), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main.1 (a: f32[8,4]) -> f32[32,4] {
  %start = (f32[8,4], f32[32,4]) fusion(%a), kind=kCustom, calls=%fused_computation.1
  %two = (f32[8,4], f32[32,4]) fusion(%start), kind=kOutput, calls=%async_collective_fusion.2
  %three = (f32[8,4], f32[32,4]) fusion(%two), kind=kOutput, calls=%async_collective_fusion.3
  %four = f32[32,4] fusion(%three), kind=kCustom, calls=%fused_computation.4
  ROOT %all-gather.5 = f32[16,4]{1,0:T(8,128)} all-gather(%four), channel_id=6, dimensions={0}
}
"""


def test_a_collective_that_fusions_carry_is_one():
    assert collectives(CARRIED) == [Collective("all-gather", 2, 32 * 4 * 4 + 16 * 4 * 4)]


def compiled(local, out):
    mesh = meshes.make_mesh(8)
    spread = jax.sharding.PartitionSpec(meshes.DATA_AXIS)
    f = jax.shard_map(local, mesh=mesh, in_specs=spread, out_specs=out, check_vma=False)
    rows = jax.ShapeDtypeStruct((64, 5), jnp.float32, sharding=meshes.rows(mesh))
    return jax.jit(f).lower(rows).compile().as_text()


SPREAD = jax.sharding.PartitionSpec(meshes.DATA_AXIS)
WHOLE = jax.sharding.PartitionSpec()


@pytest.mark.parametrize(
    ("local", "out", "expected"),
    [
        (lambda x: jax.lax.all_gather(x, "data"), WHOLE, ("all-gather", 1, 64 * 5 * 4)),
        (lambda x: jax.lax.psum(x, "data"), WHOLE, ("all-reduce", 1, 8 * 5 * 4)),
        (
            lambda x: jax.lax.fori_loop(
                0, 6, lambda _, y: jax.lax.ppermute(y + 1, "data", [(0, 1), (1, 0)]), x
            ),
            SPREAD,
            ("collective-permute", 6, 6 * 8 * 5 * 4),
        ),
        (lambda x: x + 1, SPREAD, None),
    ],
)
def test_the_program_of_this_machine_is_read(local, out, expected):
    assert collectives(compiled(local, out)) == ([Collective(*expected)] if expected else [])
