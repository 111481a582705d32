"""`molphenix export`: the model of a run as a folder of its own, with a card."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from molphenix_jax.commands.arguments import need_other_output


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "export", help="the model of a run in a folder of its own, with a model card"
    )
    parser.add_argument("run_folder", type=pathlib.Path, metavar="RUN", help="--workdir of a run")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--fold", type=int, help="which, where the run has several")
    parser.add_argument(
        "--data-licence", default="", metavar="TEXT", help="of the data, for the card: CC-BY-4.0"
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="an alignment model in about a tenth of the bytes, to be given away: half precision, "
        "no statistics of the training plates, 256 control profiles; says what that changes",
    )
    parser.add_argument(
        "--push-to",
        default="",
        metavar="OWNER/NAME",
        help="also upload it to the Hugging Face hub (pip install 'molphenix-jax[hub]')",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import shutil

    from molphenix_jax import storage
    from molphenix_jax.errors import InputError
    from molphenix_jax.reporting.card import model_card
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.folder import WEIGHTS_FILE, read_model
    from molphenix_jax.trained.hub import need_hub, push
    from molphenix_jax.wells.conditions.values import Conditions

    run, out = arguments.run_folder, arguments.out
    need_other_output(out, run)
    if out.exists():
        raise InputError(f"--out={out} is there already: choose another name, or delete it")
    if arguments.push_to:
        need_hub(arguments.push_to)
    with storage.temporary_folder() as work:
        model = read_model(_folder(run, arguments.fold, work))
        evaluation, note = _evaluation(run, arguments.fold)
        changed = ""
        if arguments.compact:
            model, changed = _compact(model, work)
        told = model.about.get("conditions")
        card = model_card(
            {"kind": model.kind, **model.about},
            evaluation,
            path=out.name,
            data_licence=arguments.data_licence,
            levels=Conditions.of_json(told).levels if told else {},
            note=note,
            stored=changed,
        )
        with storage.new_folder(out) as private:
            for path in sorted(model.path.iterdir()):
                shutil.copyfile(path, private / path.name)
            storage.write_text(private / "README.md", card)
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    say(f"{model.kind} of {run}, {size:.1f} MiB in {out}; its card: {out / 'README.md'}")
    say(f"weights {WEIGHTS_FILE}: sha256 {model.digest}")
    if changed:
        say(changed)
    if arguments.push_to:
        say(f"it is on the hub: {push(out, arguments.push_to)}")
    return 0


def _compact(model, work: pathlib.Path):
    """A compact copy of an alignment model, and in words what that changes."""
    import shutil

    from molphenix_jax.errors import InputError
    from molphenix_jax.retrieval.model import Model
    from molphenix_jax.trained.alignment import KIND, read_alignment, write_alignment
    from molphenix_jax.trained.compact import compact
    from molphenix_jax.trained.folder import trained_config

    if model.kind != KIND:
        raise InputError(f"--compact: a model of kind {model.kind} has nothing to leave out")
    _, trained = read_alignment(model.path)
    folder = work / "compact"

    def licences(private: pathlib.Path) -> None:
        for path in model.path.glob("LICENSE*"):
            shutil.copyfile(path, private / path.name)

    config = _without_folders(trained_config(model))
    write_alignment(folder, compact(trained), config=config, more=licences)
    found = read_alignment(folder)
    apart = max(1 - Model(model, trained).least_cosine(Model(*found)), 1e-7)
    return found[0], (
        "stored in half precision: embeddings of its own molecules and control profiles have a "
        f"cosine of 1 to those of the model in single precision, but for {apart:.0e} at most"
    )


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the names of files alone: their folders are nobody else's business."""
    from molphenix_jax import tasks
    from molphenix_jax.runtime.config import section_of
    from molphenix_jax.tasks.named_screens import named_entry

    for field, kind in tasks.spec_of(config["task"]).paths.items():
        section, name = section_of(config, field)
        if name not in section:  # a field that the version that trained it did not know
            continue
        text = str(section[name] or "")
        parts = [text] if kind == "path" else text.split(",")
        split = [named_entry(part) if kind != "path" else ("", part) for part in parts]
        section[name] = ",".join(
            f"{key}{'=' if key else ''}{pathlib.PurePath(path).name}" for key, path in split
        )
    return config


def _folder(run: pathlib.Path, fold: int | None, work: pathlib.Path) -> pathlib.Path:
    """The model folder of a run; one made of its newest checkpoint if a version before did not."""
    from molphenix_jax.evaluate import write_model_of
    from molphenix_jax.runtime.workdir.checkpointing import saved_steps
    from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE
    from molphenix_jax.trained.finding import find_model
    from molphenix_jax.trained.folder import SCREENS_FOLDER, ModelError

    try:
        return find_model(run, fold=fold)
    except ModelError:
        if (run / SCREENS_FOLDER).is_dir():
            raise
        folder = run if fold is None else run / f"fold_{fold}"
        if not (run / EVALUATION_FILE).exists() or not saved_steps(folder):
            raise
    return write_model_of(run, fold or 0, work)


def _evaluation(run: pathlib.Path, fold: int | None):
    """What `evaluation.json` of the run says, and what its numbers are of."""
    from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE, read_json
    from molphenix_jax.tasks.align.refit import MEASURED_FILE, read_measured

    if (run / MEASURED_FILE).exists():
        measured = read_measured(run)
        folds = measured["config"]["data"]["folds"]
        models = "a model" if folds == 1 else f"{folds} models, one for each fold,"
        note = (
            f"This model has learned from every molecule of its screen, and none is left to test "
            f"it with. The numbers are those of {models} of the same config (run "
            f"`{measured['run']}`) that had not seen the molecules that it was asked for. For the "
            "same reason `molphenix rank` tells by this model alone no chance that a list holds "
            "the true molecule and no onset dose: a fold of such a run tells both, and "
            "`--chances=FILE` takes the chance of all folds."
        )
        return measured["evaluation"], note
    for folder in (run, run.parent):
        if (folder / EVALUATION_FILE).exists():
            folds = len(list(folder.glob("fold_*")))
            of = "" if fold is None else f" (this is fold {fold})"
            note = (
                f"Over {folds} folds, each by a model of its own that had not seen the molecules "
                f"that it was asked for{of}."
            )
            return read_json(folder / EVALUATION_FILE), note if folds else ""
    return None, ""
