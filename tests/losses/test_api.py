import jax
import jax.numpy as jnp
import pytest

from molphenix_jax.losses import LOSSES, S2L_PRESETS, make_loss
from tests.losses import cases

Z = jnp.ones((6, 2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sigclip", {}, "no loss named 'sigclip'; there are clip, hopfield_clip"),
        ("clip", {"gamma": 1.0}, "clip has no option gamma; its options: none"),
        (
            "s2l",
            {"gama": 1.0},
            "s2l has no option gama; its options: form, gamma, zeta, threshold, null",
        ),
        ("s2l", {"form": "sum"}, "form must be one of"),
        ("s2l", {"null": "mean"}, "null must be one of"),
        ("s2l", {"threshold": 75}, "threshold k must be in"),
        ("s2l", {"gamma": 0.5, "zeta": 0.75}, "needs 0 <= zeta <= gamma"),
        ("cloome", {"beta": 0.0}, "beta must be positive"),
        ("clip", {"execution": "rings"}, "execution must be one of dense, chunked, ring"),
        ("clip", {"execution": "ring"}, "needs mesh="),
        ("clip", {"execution": "chunked", "chunk_size": -1}, "chunk_size must be 0"),
        ("clip", {"chunk_size": 8}, "no meaning under execution 'dense'"),
    ],
)
def test_make_loss_says_what_is_wrong(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_loss(name, **options)


def test_a_ring_needs_its_axis():
    with pytest.raises(ValueError, match="no axis 'batch'; its axes: data"):
        make_loss("clip", execution="ring", mesh=cases.ring_of(2), axis="batch")


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("s2l", {"null_constant": 1.0}, "s2l needs profile="),
        ("s2l", {"profile": Z}, "s2l needs null_constant="),
        ("cwcl", {}, "cwcl needs profile="),
        ("cwcl", {"profile": Z[:5]}, "profile \\(5, 2\\) must be \\[n, p\\], n = 6"),
        ("clip", {"mask": jnp.ones(6)}, "mask float32\\(6,\\) must be bool"),
        ("clip", {"mask": jnp.ones(5, bool)}, "mask bool\\(5,\\) must be bool \\[n\\], n = 6"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_call_says_what_is_wrong(name, inputs, message):
    with pytest.raises(ValueError, match=message):
        make_loss(name)(Z, Z, scale=1.0, bias=0.0, **inputs)


@pytest.mark.usefixtures("unchecked")
def test_shapes_are_checked():
    with pytest.raises(ValueError, match="must both be"):
        make_loss("clip")(Z, Z[:5], scale=1.0, bias=0.0)
    with pytest.raises(ValueError, match="the batch is empty"):
        make_loss("clip")(Z[:0], Z[:0], scale=1.0, bias=0.0)


def test_rows_must_divide_among_the_devices_of_a_ring():
    loss = make_loss("clip", execution="ring", mesh=cases.ring_of(4))
    with pytest.raises(ValueError, match="6 rows do not divide among the 4 devices.*pass mask="):
        loss(Z, Z, scale=1.0, bias=0.0)


def test_every_loss_has_defaults_and_a_summary():
    assert list(LOSSES) == [
        "clip",
        "hopfield_clip",
        "infoloob",
        "cloome",
        "dcl",
        "cwcl",
        "siglip",
        "s2l",
    ]
    for name, spec in LOSSES.items():
        loss = make_loss(name)
        assert loss.options == spec.options
        assert spec.summary


@pytest.mark.parametrize("preset", S2L_PRESETS)
def test_presets_are_options_of_s2l(preset):
    loss = make_loss("s2l", **S2L_PRESETS[preset])
    assert loss.options == {"form": "weighted", "null": "screen", **S2L_PRESETS[preset]}


def test_the_paper_s_two_versions():
    assert dict(S2L_PRESETS["molgps"]) == {"gamma": 1.75, "zeta": 0.75, "threshold": 0.75}
    assert dict(S2L_PRESETS["fingerprint"]) == {"gamma": 2.75, "zeta": 1.0, "threshold": 0.75}


def test_a_loss_can_be_called_inside_and_outside_of_jit():
    loss = make_loss("clip", execution="chunked")

    def value(z):
        return loss(z, z, scale=2.0, bias=0.0)[0]

    assert float(value(Z)) == pytest.approx(float(jax.jit(value)(Z)))
