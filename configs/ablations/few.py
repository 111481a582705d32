"""What of `size=few` serves some hundred molecules: one thing at a time (no table of the paper's).

    molphenix ablate few --tier=small --workdir=runs/ablations

Meant for a real screen without the molecules that a later question keeps for itself:
`--input=wells=FILE --set data.split=butina --set data.folds=3`. docs/results.md, "Molecules of new
clusters", has what came of it.
"""

from typing import Any

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.trained.encoders.minimol import has_minimol

# What the size few has beside the size small, which the tier takes.
FEW: dict[str, Any] = {
    "data.psi": 1.0,
    "model.concentration": "log",
    "model.molecules.components": 32,
    "train.steps": 100,
    "train.warmup_steps": 10,
}
_SMALL = {
    "data.psi": 0.1,
    "model.concentration": "onehot",
    "model.molecules.components": 256,
    "train.steps": 300,
    "train.warmup_steps": 30,
}
_HEADS = ("phenomics", "molecules")
# Name → label and fields, each beside `FEW`.
_VARIED: dict[str, tuple[str, dict[str, Any]]] = {
    "few": ("size=few", {}),
    "small": ("size=small", _SMALL),
    "active": ("active pairs alone (ψ = .1)", {"data.psi": 0.1}),
    "onehot": ("dose as one-hot", {"model.concentration": "onehot"}),
    "steps50": ("50 updates", {"train.steps": 50}),
    "steps200": ("200 updates", {"train.steps": 200}),
    "components16": ("16 components", {"model.molecules.components": 16}),
    "components64": ("64 components", {"model.molecules.components": 64}),
    "components256": ("256 components", {"model.molecules.components": 256}),
    "profiles32": ("profiles in 32 components for 64", {"model.phenomics.components": 32}),
    "unwhitened": ("components of molecules not whitened", {"model.molecules.whiten": 0.0}),
    "decay0": ("weight decay 0 for .1", {"train.weight_decay": 0.0}),
    "decay1": ("weight decay 1", {"train.weight_decay": 1.0}),
    "dropout0": ("no dropout for .2", {f"model.{head}.dropout": 0.0 for head in _HEADS}),
    "dropout5": ("dropout .5", {f"model.{head}.dropout": 0.5 for head in _HEADS}),
    "input0": ("no input dropout for .2", {f"model.{head}.input_dropout": 0.0 for head in _HEADS}),
    "input5": ("input dropout .5", {f"model.{head}.input_dropout": 0.5 for head in _HEADS}),
    "rate1": ("learning rate 1e-3 for 3e-3", {"train.learning_rate": 1e-3}),
    "clipped": ("gradients clipped at .1 for 1", {"train.grad_clip": 0.1}),
    "full": ("mean of all replicates in training", {"data.averaging": "full"}),
    "single": ("single replicates in training", {"data.averaging": "single"}),
    "width32": ("heads of width 32 for 128", {f"model.{head}.width": 32 for head in _HEADS}),
    "width512": ("heads of width 512", {f"model.{head}.width": 512 for head in _HEADS}),
    "blocks0": ("heads without a residual block", {f"model.{head}.n_blocks": 0 for head in _HEADS}),
    "blocks3": ("heads of three blocks", {f"model.{head}.n_blocks": 3 for head in _HEADS}),
    "dim16": ("embeddings of width 16 for 64", {"model.dim": 16}),
    "physchem": ("descriptors alone", {"molecules.blocks": "physchem"}),
    "minimol": ("MiniMol alone", {"molecules.blocks": "minimol"}),
    "minimol_physchem": ("MiniMol and descriptors", {"molecules.blocks": "physchem,minimol"}),
    "minimol_all": (
        "MiniMol and the default blocks",
        {"molecules.blocks": "morgan,maccs,rdkit,physchem,minimol"},
    ),
}


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    missing = "" if has_minimol() else "MiniMol is not there: molphenix pretrained minimol"
    rows = [
        Row(
            name, label, fields, config="siglip", skip=missing if name.startswith("minimol") else ""
        )
        for name, (label, fields) in _VARIED.items()
    ]
    rows += [
        Row("clip", "CLIP for SigLIP", config="clip"),
        Row("soft", "2% soft positives (S2L)", config="s2l", arg="preset=replicable"),
    ]
    return Ablation(
        title="size=few on some hundred molecules",
        paper="a choice of defaults",
        of_paper=False,
        rows=rows,
        reference="few",
        fields=FEW,
        claims=[
            Claim(
                "size=few beats size=small where unseen molecules are in other clusters",
                "not a claim",
                (("few", "small"),),
                subset="all",
            ),
            Claim(
                "MiniMol and descriptors beat the default blocks on few molecules",
                "not a claim (of its own encoder T18)",
                (("minimol_physchem", "few"),),
                subset="all",
            ),
        ],
    )
