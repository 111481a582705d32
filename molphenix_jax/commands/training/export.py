"""`molphenix export`: the model of a run as a folder of its own, with a card."""

from __future__ import annotations

import argparse
import pathlib

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
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import shutil

    from molphenix_jax import storage
    from molphenix_jax.errors import InputError
    from molphenix_jax.reporting.card import model_card
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.folder import WEIGHTS_FILE, read_model
    from molphenix_jax.wells.conditions.values import Conditions

    run, out = arguments.run_folder, arguments.out
    need_other_output(out, run)
    if out.exists():
        raise InputError(f"--out={out} is there already: choose another name, or delete it")
    with storage.temporary_folder() as work:
        model = read_model(_folder(run, arguments.fold, work))
        evaluation, note = _evaluation(run, arguments.fold)
        told = model.about.get("conditions")
        card = model_card(
            {"kind": model.kind, **model.about},
            evaluation,
            path=out.name,
            data_licence=arguments.data_licence,
            levels=Conditions.of_json(told).levels if told else {},
            note=note,
        )
        with storage.new_folder(out) as private:
            for path in sorted(model.path.iterdir()):
                shutil.copyfile(path, private / path.name)
            storage.write_text(private / "README.md", card)
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    say(f"{model.kind} of {run}, {size:.1f} MiB in {out}; its card: {out / 'README.md'}")
    say(f"weights {WEIGHTS_FILE}: sha256 {model.digest}")
    return 0


def _folder(run: pathlib.Path, fold: int | None, work: pathlib.Path) -> pathlib.Path:
    """The model folder of a run; one made of its newest checkpoint if a version before did not."""
    from molphenix_jax.evaluate import write_model_of
    from molphenix_jax.runtime.workdir.checkpointing import saved_steps
    from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE
    from molphenix_jax.trained.folder import ModelError, find_model

    try:
        return find_model(run, fold=fold)
    except ModelError:
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
            f"`{measured['run']}`) that had not seen the molecules that it was asked for."
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
