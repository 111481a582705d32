"""Losses by name, among them the eight of the paper's comparison: `make_loss`.

A loss is chosen by name and given its options; how it is executed (dense, chunked, ring) is a
separate choice that changes memory and time but, up to rounding, no number.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molphenix_jax.losses import blocks, hopfield, similarity, streaming
from molphenix_jax.losses.sigmoid import Form, SigmoidKernel
from molphenix_jax.losses.softmax import SoftmaxKernel
from molphenix_jax.parts import Parts, define, register

Summed = tuple[Float[Array, ""], Float[Array, ""]]
Evaluate = Callable[[blocks.Side, blocks.Side, blocks.Shared, streaming.Plan], Summed]
Kernel = streaming.SummedKernel

# γ, ζ and k of S2L. "molgps" and "fingerprint" are the paper's two versions (Table 7 caption: "for
# non-MolGPS version gamma 2.75, zeta is 1.0"), "cellclip" is the public code of CellCLIP, and with
# "soft_bce" the optimum of each pair is σ(l) = w. "small_screen" is that with a higher threshold,
# so that few pairs of a screen of some hundred molecules count as similar: on noisy ones none, and
# S2L is SigLIP then. "replicable" has the null of each pair, and is meant for profiles along the
# directions that replicates agree on, with k such that a share of the pairs passes.
S2L_PRESETS: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
    {
        "molgps": types.MappingProxyType({"gamma": 1.75, "zeta": 0.75, "threshold": 0.75}),
        "fingerprint": types.MappingProxyType({"gamma": 2.75, "zeta": 1.0, "threshold": 0.75}),
        "cellclip": types.MappingProxyType({"gamma": 1.7, "zeta": 0.75, "threshold": 0.75}),
        "small_screen": types.MappingProxyType({"gamma": 1.0, "zeta": 1.0, "threshold": 0.98}),
        "soft_bce": types.MappingProxyType({"gamma": 1.0, "zeta": 1.0, "threshold": 0.75}),
        "replicable": types.MappingProxyType(
            {"gamma": 1.0, "zeta": 1.0, "threshold": 0.75, "null": "pair"}
        ),
    }
)
HOPFIELD_BETA = 14.3  # CLOOME's scale_hopfield


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """What a name stands for.

    Attributes:
        summary: one line, with the source.
        build: options, by name, to a kernel (`SummedKernel`; a `PairSum` where pairs stand alone),
            which runs dense, chunked and as a ring; or, for what is no single walk over pairs, to a
            function (rows, cols, shared, plan) of the loss summed over rows and the sum of w.
        options: the options that exist, with their defaults: numbers, strings, booleans.
        uses: of "profile" and "null_constant", those a call must bring.
        compares_w: whether w is more than the identity, so that its mean is worth a metric.
    """

    summary: str
    build: Callable[..., Kernel | Evaluate]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    uses: tuple[str, ...] = ()

    @property
    def compares_w(self) -> bool:
        """True where w comes from profiles."""
        return "profile" in self.uses


def _spec_problem(spec: Any) -> str:
    """What a loss from outside got wrong; see `parts.define`."""
    if not isinstance(spec, LossSpec):
        return "must be a LossSpec"
    if not callable(spec.build):
        return "build must be a function of the options, or a kernel's class"
    if not isinstance(spec.options, Mapping):
        return "options must map the names of options to their defaults"
    if unknown := set(spec.uses) - {"profile", "null_constant"}:
        return f"uses names {', '.join(sorted(unknown))}; there are profile and null_constant"
    return ""


LOSSES: Parts[LossSpec] = define("loss", _spec_problem)


def _s2l(
    *, form: Form, gamma: float, zeta: float, threshold: float, null: similarity.Null
) -> SigmoidKernel:
    if form not in get_args(Form):
        raise ValueError(f"s2l: form must be one of {get_args(Form)}, got {form!r}")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"s2l: threshold k must be in [0, 1], got {threshold}")
    if null not in get_args(similarity.Null):
        raise ValueError(f"s2l: null must be one of {get_args(similarity.Null)}, got {null!r}")
    if not 0.0 <= zeta <= gamma:
        raise ValueError(
            f"s2l: needs 0 <= zeta <= gamma, got gamma {gamma} and zeta {zeta}; "
            "otherwise a similar pair's weight gamma - zeta·w is negative and the loss unbounded"
        )
    w = similarity.ArctanL2(threshold, null)
    return SigmoidKernel(similarity=w, form=form, gamma=gamma, zeta=zeta)


def _retrieved(kernel: SoftmaxKernel, *, beta: float) -> hopfield.RetrievedLoss:
    if not beta > 0.0:
        raise ValueError(f"beta must be positive, got {beta}")
    return hopfield.RetrievedLoss(kernel, beta)


def _times_temperature(built: Kernel | Evaluate) -> Evaluate:
    evaluate = _evaluation(built)

    def scaled(rows, cols, shared, plan):
        total, w_sum = evaluate(rows, cols, shared, plan)
        return total / shared.scale, w_sum

    return scaled


def _evaluation(built: Any) -> Evaluate:
    """What `LossSpec.build` gave as a function.

    Raises:
        ValueError: It is neither a function nor a kernel.
    """
    if callable(built):
        return cast(Evaluate, built)
    methods = (*("separable", "partial", "merge", "empty", "recap", "pullback"), "finish")
    if missing := [name for name in methods if not hasattr(built, name)]:
        raise ValueError(
            f"{built!r} is neither a function nor a kernel: it has no {', '.join(missing)} (see "
            "SummedKernel in molphenix_jax/losses/streaming.py)"
        )
    try:
        hash(built)
    except TypeError as error:
        raise ValueError(
            f"a kernel has to be hashable ({error}): make {type(built).__name__} a "
            "dataclass(frozen=True) of numbers and strings"
        ) from error

    def evaluate(rows, cols, shared, plan):
        return streaming.summed(built, rows, cols, shared, plan)

    return evaluate


_ALONE = similarity.Identity()
_ONE_WAY = SoftmaxKernel(_ALONE, columns=False)
_DCL = SoftmaxKernel(_ALONE, exclude_positive=True)
_DCL_ONE_WAY = SoftmaxKernel(_ALONE, exclude_positive=True, columns=False)
_BETA = types.MappingProxyType({"beta": HOPFIELD_BETA})

register(
    "loss",
    "clip",
    LossSpec("InfoNCE, both directions (paper eq. 1)", lambda: SoftmaxKernel(_ALONE)),
)
register(
    "loss",
    "hopfield_clip",
    LossSpec(
        "InfoNCE on Hopfield-retrieved patterns (docs/method.md §3)",
        lambda beta: _retrieved(_ONE_WAY, beta=beta),
        _BETA,
    ),
)
register(
    "loss",
    "infoloob",
    LossSpec(
        "leave-one-out bound, times τ, both directions (CLOOME code)",
        lambda: _times_temperature(_DCL),
    ),
)
register(
    "loss",
    "cloome",
    LossSpec(
        "CLOOB: InfoLOOB on Hopfield-retrieved patterns (CLOOME code)",
        lambda beta: _times_temperature(_retrieved(_DCL_ONE_WAY, beta=beta)),
        _BETA,
    ),
)
register("loss", "dcl", LossSpec("InfoNCE without the positive in the denominator", lambda: _DCL))
register(
    "loss",
    "cwcl",
    LossSpec(
        "softmax against cosine similarity of profiles (paper eq. 2)",
        lambda: SoftmaxKernel(similarity.Cosine(), columns=False),
        uses=("profile",),
    ),
)
register("loss", "siglip", LossSpec("sigmoid loss (paper eq. 3)", SigmoidKernel))
register(
    "loss",
    "s2l",
    LossSpec(
        "soft sigmoid loss with arctan-L2 similarity (paper eq. 4, Algorithm 1)",
        _s2l,
        types.MappingProxyType({"form": "weighted", **S2L_PRESETS["molgps"], "null": "screen"}),
        uses=("profile", "null_constant"),
    ),
)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)  # hashed by identity: `jax.jit(loss)`
class Loss:
    """A contrastive loss with its options and its execution; call it on a batch."""

    name: str
    options: Mapping[str, Any]
    plan: streaming.Plan
    _evaluate: Evaluate

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"Loss({self.name}({given}), {self.plan.execution})"

    def __call__(
        self,
        z_x: Float[Array, "n d"],
        z_m: Float[Array, "n d"],
        *,
        scale: Float[Array, ""] | float,
        bias: Float[Array, ""] | float,
        profile: Float[Array, "n p"] | None = None,
        null_constant: Float[Array, ""] | float | None = None,
        mask: Bool[Array, " n"] | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss: sum over pairs over the number of real rows (docs/method.md §14 row 32).

        Args:
            z_x: L2-normalised phenomic embeddings; row i of z_x and of z_m are one perturbation.
            z_m: L2-normalised molecule embeddings.
            scale: α, or 1/τ in the softmax losses; positive, already exponentiated.
            bias: added to every logit of the sigmoid losses; cancels in the softmax ones.
            profile: frozen corrected profiles, not L2-normalised; get no gradient. s2l and cwcl.
            null_constant: c of `similarity.null_constant`; s2l.
            mask: False for padded rows, which take no part whatever they hold.

        Returns:
            The loss (float32), and metrics without gradient: `logit_positive` and `logit_negative`,
            the mean of scale·cos + bias over positive and over other pairs, and where w comes from
            profiles `similarity`, its mean over other pairs.

        Raises:
            ValueError: an input this loss needs is missing, shapes disagree, or under `ring` the
                rows do not divide among the devices.
        """
        given = {"profile": profile, "null_constant": null_constant}
        for needed in LOSSES[self.name].uses:
            if given[needed] is None:
                raise ValueError(f"loss {self.name} needs {needed}=")
        _check_shapes(self.name, z_x, z_m, profile, mask)
        self.plan.check_rows(z_x.shape[0])
        if "profile" not in LOSSES[self.name].uses:
            profile = None

        n = z_x.shape[0]
        real = jnp.ones((n,), bool) if mask is None else mask
        if mask is not None:  # even NaN in a padded row must not reach 0 · NaN in a gradient
            z_x, z_m = _zero_padding(z_x, mask), _zero_padding(z_m, mask)
            profile = None if profile is None else _zero_padding(profile, mask)
        n_real = jnp.sum(real).astype(jnp.float32)
        center = None
        if profile is not None:
            profile = jax.lax.stop_gradient(profile)
            center = jnp.sum(profile, axis=0, dtype=jnp.float32) / jnp.maximum(n_real, 1.0)
        shared = blocks.Shared(
            scale=jnp.asarray(scale, jnp.float32),
            bias=jnp.asarray(bias, jnp.float32),
            null_constant=None
            if null_constant is None
            else jnp.asarray(null_constant, jnp.float32),
            center=center,
        )
        index = jnp.arange(n, dtype=jnp.int32)
        rows = blocks.Side(z_x, profile, index, real)
        cols = blocks.Side(z_m, profile, index, real)
        total, w_sum = self._evaluate(rows, cols, shared, self.plan)
        loss = total / jnp.maximum(n_real, 1.0)
        metrics = _logit_metrics(z_x, z_m, shared, n_real)
        if LOSSES[self.name].compares_w:
            # w_ii = 1, so the diagonal sums to the number of rows.
            metrics["similarity"] = (w_sum - n_real) / jnp.maximum(n_real * (n_real - 1.0), 1.0)
        return loss, jax.lax.stop_gradient(metrics)


def make_loss(
    name: str,
    *,
    execution: streaming.Execution = "dense",
    chunk_size: int = 0,
    mesh: jax.sharding.Mesh | None = None,
    axis: str = "data",
    **options: Any,
) -> Loss:
    """A loss by name.

    Args:
        name: one of `LOSSES`.
        execution: "dense" (all pairs at once), "chunked" (tile by tile) or "ring" (rows stay on
            their device and blocks of columns travel; tiles within a device).
        chunk_size: side of a tile in rows, for "chunked" and "ring"; 0 chooses it.
        mesh: devices of a ring; needed for "ring" only.
        axis: mesh axis that the batch is sharded over.
        **options: of the loss, see `LOSSES[name].options`.

    Raises:
        ValueError: no such loss, option, execution or axis, or a value that makes no sense.
    """
    if name not in LOSSES:
        raise ValueError(f"no loss named {name!r}; there are {', '.join(LOSSES)}")
    spec = LOSSES[name]
    unknown = sorted(set(options) - set(spec.options))
    if unknown:
        known = ", ".join(spec.options) or "none"
        raise ValueError(f"loss {name} has no option {', '.join(unknown)}; its options: {known}")
    plan = streaming.Plan(execution, chunk_size=chunk_size, mesh=mesh, axis=axis)
    options = {**spec.options, **options}
    return Loss(name, types.MappingProxyType(options), plan, _evaluation(spec.build(**options)))


def _check_shapes(name: str, z_x, z_m, profile, mask) -> None:
    if z_x.ndim != 2 or z_x.shape != z_m.shape:
        raise ValueError(f"loss {name}: z_x {z_x.shape} and z_m {z_m.shape} must both be [n, d]")
    if z_x.shape[0] == 0:
        raise ValueError(f"loss {name}: the batch is empty")
    if profile is not None and (profile.ndim != 2 or profile.shape[0] != z_x.shape[0]):
        raise ValueError(f"loss {name}: profile {profile.shape} must be [n, p], n = {z_x.shape[0]}")
    if mask is not None and (mask.shape != z_x.shape[:1] or mask.dtype != jnp.bool_):
        raise ValueError(
            f"loss {name}: mask {mask.dtype}{mask.shape} must be bool [n], n = {z_x.shape[0]}"
        )


def _zero_padding(a: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
    return jnp.where(mask[:, None], a, jnp.zeros((), a.dtype))


def _logit_metrics(z_x, z_m, shared: blocks.Shared, n_real) -> dict[str, Array]:
    """Mean logits without any pair: Σ_ij <x_i, m_j> = <Σ x_i, Σ m_j>."""
    z_x, z_m = jax.lax.stop_gradient((z_x, z_m))
    positive = jnp.sum(z_x.astype(jnp.float32) * z_m.astype(jnp.float32))
    sum_x = jnp.sum(z_x, axis=0, dtype=jnp.float32)
    sum_m = jnp.sum(z_m, axis=0, dtype=jnp.float32)
    negative = jnp.vdot(sum_x, sum_m, precision=jax.lax.Precision.HIGHEST) - positive
    pairs = n_real * (n_real - 1.0)
    return {
        "logit_positive": shared.scale * positive / jnp.maximum(n_real, 1.0) + shared.bias,
        "logit_negative": shared.scale * negative / jnp.maximum(pairs, 1.0) + shared.bias,
    }
