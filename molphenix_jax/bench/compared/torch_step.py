"""The training step of `tasks/align/training/run.py` in plain PyTorch, for `molphenix bench step`.

The same towers, loss, clip and optimizer, written as one would in PyTorch: `nn` modules, AdamW with
`fused=True`, tables on the device and rows gathered by index. It starts from our weights, so that
both sides can be asked for the same loss.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from molphenix_jax.bench.compared.torch_losses import s2l

LAYER_NORM_EPS = 1e-6  # Flax's; PyTorch's own default is 1e-5


def make(
    params: Mapping[str, Any],
    tables: Mapping[str, np.ndarray],
    *,
    scaling: Mapping[str, Sequence[np.ndarray]],
    clip_sd: float,
    loss: Mapping[str, float],
    dropout: Mapping[str, tuple[float, float]],
    scale_max: float,
    decay: Callable[[str], bool],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    grad_clip: float,
    half: bool,
    compiled: bool,
) -> Callable[[Sequence[np.ndarray], int], Callable[[], float]]:
    """A model that trains itself: of a batch and a number, the function that does so many updates.

    Args:
        params: our parameters, nested by name, in Flax's layout.
        tables: "replicates", "profile" and "molecule" of `align.training.tables.Tables`, its blocks
            side by side as "features", and the encoded "dose" of each perturbation.
        scaling: mean, standard deviation and weight of the columns of "profile" and "molecule".
        clip_sd: bound of the scaled columns.
        loss: γ, ζ, k and c of S2L.
        dropout: of each head, at its input and within its blocks.
        scale_max: clamp of the scale, after each update.
        decay: whether a parameter of a Flax name decays.
        learning_rate: constant.
        betas: of AdamW.
        weight_decay: of AdamW.
        grad_clip: largest global norm.
        half: run the towers under bfloat16 autocast.
        compiled: put loss and gradient through `torch.compile`.

    Raises:
        ImportError: PyTorch is not installed.
    """
    torch = importlib.import_module("torch")
    log_scale_max = float(np.log(scale_max))
    nn, functional = torch.nn, torch.nn.functional
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, the default of JAX

    def tensor(a: Any) -> Any:
        return torch.tensor(np.array(a), device=device)

    def dense(p: Mapping[str, Any]) -> Any:
        layer = nn.Linear(*p["kernel"].shape, device=device)
        layer.weight.data, layer.bias.data = tensor(p["kernel"].T), tensor(p["bias"])
        return layer

    def norm(p: Mapping[str, Any]) -> Any:
        layer = nn.LayerNorm(len(p["bias"]), eps=LAYER_NORM_EPS, device=device)
        layer.weight.data, layer.bias.data = tensor(p["scale"]), tensor(p["bias"])
        return layer

    class Block(nn.Module):
        def __init__(self, p, rate):
            super().__init__()
            self.norm, self.up, self.down = norm(p["norm"]), dense(p["up"]), dense(p["down"])
            self.dropout = nn.Dropout(rate)

        def forward(self, x):
            hidden = functional.gelu(self.up(self.norm(x)), approximate="tanh")
            return x + self.down(self.dropout(hidden))

    class Head(nn.Module):
        def __init__(self, p, input_rate, rate):
            super().__init__()
            n_blocks = sum(name.startswith("block_") for name in p)
            self.layers = nn.Sequential(
                nn.Dropout(input_rate),
                dense(p["project_in"]),
                *(Block(p[f"block_{i}"], rate) for i in range(n_blocks)),
                norm(p["norm"]),
                dense(p["project_out"]),
            )

        def forward(self, x):
            return functional.normalize(self.layers(x).float(), dim=1)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.phenomic_head = Head(params["phenomic_head"], *dropout["phenomic_head"])
            self.molecule_head = Head(params["molecule_head"], *dropout["molecule_head"])
            self.log_scale = nn.Parameter(tensor(params["log_scale"]))
            self.bias = nn.Parameter(tensor(params["bias"]))

        def forward(self, profiles, molecules, frozen):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
                z_x, z_m = self.phenomic_head(profiles), self.molecule_head(molecules)
            return s2l(z_x, z_m, self.log_scale.exp(), self.bias, frozen, **loss)

    model = Model()
    # Biases, LayerNorm's two and the scalars are vectors or less.
    decays = {True: [], False: []}
    for parameter in model.parameters():
        decays[decay("/kernel" if parameter.ndim == 2 else "/bias")].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": decays[True], "weight_decay": weight_decay},
            {"params": decays[False], "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=betas,
        fused=True,
    )
    at = {name: tensor(table) for name, table in tables.items()}
    affine = {name: [tensor(a) for a in each] for name, each in scaling.items()}

    def scaled(x: Any, name: str) -> Any:
        mean, std, weight = affine[name]
        return ((x.float() - mean) / std).clamp(-clip_sd, clip_sd) * weight

    forward = torch.compile(model) if compiled else model

    def on(batch: Sequence[np.ndarray], updates: int) -> Callable[[], float]:
        perturbation, replicate, weight = (tensor(a) for a in batch)
        perturbation, replicate = perturbation.long(), replicate.long()

        def update() -> Any:
            sample = torch.einsum("br,brd->bd", weight, at["replicates"][replicate])
            features = scaled(at["features"][at["molecule"][perturbation]], "molecule")
            value = forward(
                scaled(sample, "profile"),
                torch.cat([features, at["dose"][perturbation]], dim=1),
                at["profile"][perturbation],
            )
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
            optimizer.step()
            with torch.no_grad():  # after the update, so that the gradient never vanishes
                model.log_scale.clamp_(max=log_scale_max)
            return value.detach()

        def run() -> float:
            value = update()
            for _ in range(updates - 1):
                value = update()
            if device == "cuda":
                torch.cuda.synchronize()
            return float(value)

        return run

    return on
