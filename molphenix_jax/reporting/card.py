"""The card of a model: what it is, what it was trained on, how well it did, what it is not for."""

import types
from collections.abc import Mapping, Sequence
from typing import Any

from molphenix_jax.reporting.run.results import results_markdown

_SPLIT = "unseen_molecules"
_USE = {
    "alignment": """import molphenix_jax

model = molphenix_jax.load({path!r})
z_m = model.embed_molecules(["CCO"], concentration_um={dose:.3g}{conditions})
z_x = model.embed_profiles(wells, controls="is_control", groups="plate")""",
    "molecule_encoder": "molphenix embed molecules.csv --encoder={path} --out=embeddings.parquet",
    "image_encoder": "molphenix embed-images --layout=gallery --images=plates --encoder={path} "
    "--out=wells.parquet",
}


def model_card(
    about: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    *,
    path: str,
    data_licence: str,
    levels: Mapping[str, Sequence[str]] = types.MappingProxyType({}),
    note: str = "",
    stored: str = "",
) -> str:
    """The card as Markdown.

    Args:
        about: What `model.json` tells.
        evaluation: `evaluation.json` of the run; None where there is none.
        path: How the model will be named.
        data_licence: Licence of the data, as the user gives it; empty if it was not told.
        levels: Conditions that the model is told, each with its values in order.
        note: What the numbers are of, where that has to be said.
        stored: What its form changes, where that has to be said.
    """
    kind = about["kind"]
    parts = [
        f"# {path}",
        "",
        f"A molphenix_jax model ({kind}), made by version {about['version']}.",
    ]
    grid = about.get("dose", {}).get("grid_log10") or [0.0]
    told = {name: values[0] for name, values in levels.items()}
    conditions = f", conditions={told!r}" if told else ""
    language = "python" if kind == "alignment" else "console"
    use = _USE[kind].format(path=path, dose=10 ** grid[-1], conditions=conditions)
    parts += ["", "## Use", "", f"```{language}", use, "```"]
    parts += ["", "## Data", "", *_data(about, data_licence)]
    if kind == "alignment":
        parts += ["", "## What it takes", "", *_inputs(about, levels)]
    if evaluation is not None and kind == "alignment":
        own = {
            name: [row for row in evaluation.get(name, ()) if row["split"] == _SPLIT]
            for name in ("results", "comparisons", "not_computed")
        }
        parts += ["", "## How well it finds molecules that it has not seen", ""]
        parts += [note, ""] if note else []
        parts.append(_below(results_markdown(own, title="Recall, in % of queries [95% interval]")))
    limits = [*_limits(kind), *([f"- It is {stored}."] if stored else [])]
    parts += ["", "## Limits", "", *limits, ""]
    return "\n".join(parts)


def _data(about: Mapping[str, Any], licence: str) -> list[str]:
    screen, trained = about.get("screen"), about.get("trained", {})
    lines = []
    if screen:
        lines.append(f"- Screen `{screen['name']}`, from {', '.join(screen['source'])}")
        lines += [f"- SHA-256 of a source: `{digest}`" for digest in screen["source_sha256"]]
    if "source" in about:
        lines.append(f"- {about['source']}")
    if trained:
        told = ", ".join(f"{name} {value:,}" for name, value in trained.items() if _is_int(value))
        lines.append(f"- Trained on: {told}")
    lines.append(f"- Licence of the data: {licence or 'not told; ask whoever made the data'}")
    if screen:
        lines.append(
            "- `splits.csv` names every molecule and whether the model learned from it: profiles "
            "of those are no evidence that it generalises"
        )
    return lines


def _inputs(about: Mapping[str, Any], levels: Mapping[str, Sequence[str]]) -> list[str]:
    doses = ", ".join(f"{10**dose:.3g}" for dose in about["dose"]["grid_log10"])
    blocks = [*about["blocks"], *(["molecular graphs"] if about["encoder"] else [])]
    lines = [
        f"- Molecules: {', '.join(blocks)}, by featuriser `{about['featuriser']['features']}`",
        f"- Doses ({about['dose']['kind']}), trained at {doses} µM",
        *(f"- Condition {name}: {', '.join(values)}" for name, values in levels.items()),
    ]
    if about["phenomics"] == "profiles":
        names = about["feature_names"]
        lines.append(
            f"- Wells: {len(names):,} features, `{names[0]}` to `{names[-1]}`, corrected "
            f"({about['correction']['method']}) by negative controls of their own plate"
        )
    return lines


def _limits(kind: str) -> list[str]:
    lines = ["- For research. No clinical use, and no decision about a person or a patient."]
    if kind == "alignment":
        lines += [
            "- Recall was measured on molecules of other scaffolds out of the same screen; another "
            "laboratory, cell line, assay or chemistry may be further away than these were.",
            "- A molecule without an effect on cells cannot be found by its profile, nor a profile "
            "by it.",
            "- A dose that was not trained counts as the nearest, unless the encoding is log or "
            "sigmoid.",
        ]
    return lines


def _below(markdown: str) -> str:
    """A page as a part of another one."""
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in markdown.split("\n"))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
