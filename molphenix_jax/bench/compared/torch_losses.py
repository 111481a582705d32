"""The same losses in PyTorch, where it is installed: open_clip's SigLipLoss, and a plain S2L.

PyTorch is no dependency of this package; `pip install torch open_clip_torch` beside it is enough.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from molphenix_jax.losses import S2L_PRESETS


def _open_clip_loss() -> Any:
    """open_clip's loss module alone: the whole package wants a torchvision that fits the torch."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ImportError("open_clip is not installed", name="open_clip")
    path = pathlib.Path(package.origin).with_name("loss.py")
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded", name="open_clip")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def value_and_grad(
    name: str,
    z_x: Float[np.ndarray, "n d"],
    z_m: Float[np.ndarray, "n d"],
    profile: Float[np.ndarray, "n p"],
    null_constant: Float[np.ndarray, ""],
    *,
    scale: float,
    bias: float,
    chunk_size: int = 0,
) -> tuple[Callable[[], float] | None, str]:
    """A function that takes value and gradient once, and what it is.

    Args:
        name: Of the loss.
        z_x: Phenomic embeddings.
        z_m: Molecule embeddings.
        profile: Frozen profiles.
        null_constant: c of S2L.
        scale: Of the cosines.
        bias: Of the logits.
        chunk_size: Rows that open_clip takes at once, where its version can; 0 for all.

    Returns:
        (function, its name), or (None, why not) where PyTorch or open_clip is not installed.
    """
    try:
        torch = importlib.import_module("torch")
        open_clip: Any = _open_clip_loss() if name == "siglip" else None
    except ImportError as error:
        return None, f"not compared: {error.name} is not installed"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    leaves = [
        torch.tensor(np.array(a, np.float32), device=device, requires_grad=True)
        for a in (z_x, z_m, scale, bias)
    ]
    frozen = torch.tensor(np.array(profile), device=device)
    c = float(null_constant)

    if name == "siglip":
        options = {"chunk_size": chunk_size} if chunk_size else {}
        if options and "chunk_size" not in inspect.signature(open_clip.SigLipLoss).parameters:
            return None, "not compared: this open_clip has no chunk_size"
        siglip = open_clip.SigLipLoss(**options)

        def loss(x, m, scale, bias):
            return siglip(x, m, scale, bias)

        label = "open_clip SigLipLoss" + (f" in chunks of {chunk_size}" if chunk_size else "")
    else:

        def loss(x, m, scale, bias):
            return s2l(x, m, scale, bias, frozen, null_constant=c, **S2L_PRESETS["molgps"])

        label = "plain PyTorch S2L"

    def run() -> float:
        for leaf in leaves:
            leaf.grad = None
        value = loss(*leaves)
        value.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return value.item()

    return run, f"{label} ({describe()})"


def peak_mib(run: Callable[[], float]) -> float | None:
    """Memory in MiB that one run takes beside what is there; None where it is not a GPU's."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def give_back_memory() -> None:
    """PyTorch keeps what it freed for itself; others want it."""
    gc.collect()
    importlib.import_module("torch").cuda.empty_cache()


def describe() -> str:
    """Version of PyTorch and what it runs on."""
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return f"torch {torch.__version__}, {torch.cuda.get_device_name()}"
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def s2l(
    x: Any,
    m: Any,
    scale: Any,
    bias: Any,
    frozen: Any,
    *,
    null_constant: float,
    gamma: float,
    zeta: float,
    threshold: float,
) -> Any:
    """S2L of torch tensors, as one writes it down: all pairs at once."""
    torch = importlib.import_module("torch")
    logit = scale * x @ m.T + bias
    with torch.no_grad():
        squares = (frozen * frozen).sum(1)
        distance = squares[:, None] + squares[None, :] - 2.0 * frozen @ frozen.T
        w = 1.0 - (4.0 / torch.pi) * torch.arctan(distance.clamp(min=0.0) / null_constant)
        w = torch.where(w < threshold, 0.0, w.clamp(0.0, 1.0)).fill_diagonal_(1.0)
    log_sigmoid = torch.nn.functional.logsigmoid
    pairs = w * log_sigmoid(logit) + (gamma - zeta * w) * log_sigmoid(-logit)
    return -pairs.sum() / len(x)
