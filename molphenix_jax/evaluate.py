"""Evaluates a run that is there: reads it, and writes a folder of its own, `RUN/evaluations/NAME`.

Nothing else in the run is touched, so it may still be training.
"""

import contextlib
import pathlib
import re
from typing import Any

import jax

from molphenix_jax import storage, tasks
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime import processes
from molphenix_jax.runtime.config import Config, ConfigError, plain
from molphenix_jax.runtime.optimizer import optimizer_of
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.run import Params, Run
from molphenix_jax.runtime.workdir.checkpointing import (
    CHECKPOINTS,
    CheckpointError,
    Checkpoints,
    saved_steps,
)
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE, fold_folder, read_json
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, need_lines
from molphenix_jax.tasks.stored import (
    changes_of_training,
    need_own_folder,
    placed_config,
    stored_config,
)
from molphenix_jax.train import abstract_state, on_this_host
from molphenix_jax.trained.folder import MODEL_FOLDER

EVALUATIONS, REQUEST_FILE = "evaluations", "request.json"


def evaluate(
    config: Config | None, workdir: pathlib.Path, *, checkpoint: int | None = None, name: str = ""
) -> pathlib.Path:
    """Evaluates a run on its newest or another checkpoint, finished or not.

    Args:
        config: Config whose `eval` fields are used; None takes all from the run.
        workdir: Folder of the run.
        checkpoint: Step of the checkpoint in every fold; None takes the newest.
        name: Of the folder in `evaluations/`. Empty takes `after-STEP`, or `after-STEP-2` and so on
            where that holds another request. The same request again replaces its folder.

    Returns:
        The folder, with `evaluation.json`, `report/` and `request.json`.

    Raises:
        ConfigError: The config makes another model than the run's, or the name is taken by another
            request.
        CheckpointError: No such checkpoint, or it cannot be read.
    """
    chosen: Config = placed_config(workdir) if config is None else config
    if changed := changes_of_training(stored_config(workdir), chosen):
        raise ConfigError(
            f"--mode=evaluate: only eval fields may differ from the run in {workdir} "
            "(run → given):\n  " + "\n  ".join(changed)
        )
    if name and not re.fullmatch(r"[\w+=-][\w.+=-]*", name):
        raise ConfigError(f"--name={name!r}: letters, digits and . _ - + = make a name")
    tasks.validate(chosen)
    need_own_folder(workdir, chosen)
    mesh = meshes.make_mesh(chosen.train.devices)
    with processes.first_before_others("prepare"):
        task = tasks.make(chosen, mesh, workdir)
    processes.begin("restore")
    loaded = []
    for fold in range(task.n_folds):
        folder = fold_folder(workdir, fold, task.n_folds)
        if task.n_folds > 1 and not saved_steps(folder):
            say(f"fold {fold + 1} of {task.n_folds} has no checkpoint yet and is left out")
            continue
        run = task.run(fold, folder)
        loaded.append((fold, run, *load_params(run, chosen, mesh, folder, checkpoint=checkpoint)))
    if not loaded:
        raise CheckpointError(f"there is no checkpoint in {workdir}: train first")
    request = {
        "checkpoints": {str(fold): step for fold, _, step, _ in loaded},
        "eval": plain(chosen.get("eval", {})),
    }
    newest = max(step for _, _, step, _ in loaded)
    out = _choose_folder(workdir / EVALUATIONS, name, f"after-{newest}", request)
    processes.begin("evaluate")
    if processes.is_first():
        _write(out, request, task, loaded, workdir)
    elif task.evaluates_in_shares:
        _results(out, task, loaded, workdir)
    processes.barrier("evaluate", alone=True)
    return out


def _write(
    out: pathlib.Path,
    request: dict[str, Any],
    task: Any,
    loaded: list[tuple[int, Run, int, Params]],
    workdir: pathlib.Path,
) -> None:
    """Evaluates the folds of a run, and fills the folder of an evaluation."""
    with storage.claim(out, doing="written", remedy="wait for it or take another --name"):
        storage.write_json(out / REQUEST_FILE, request)
        task.conclude(_results(out, task, loaded, workdir), workdir, out)


def _results(
    out: pathlib.Path, task: Any, loaded: list[tuple[int, Run, int, Params]], workdir: pathlib.Path
) -> list[Any]:
    """What each fold comes to."""
    results = []
    for fold, run, step, params in loaded:
        say(f"evaluating {fold_folder(workdir, fold, task.n_folds)} after {step:,} updates")
        results.append(task.evaluate(run, params, fold_folder(out, fold, task.n_folds)))
    return results


def write_model_of(workdir: pathlib.Path, fold: int, out: pathlib.Path) -> pathlib.Path:
    """Writes the model folder of a finished run of before there were such; the run stays as it is.

    Args:
        workdir: Folder of the run. Its screen is prepared again if it is no longer there.
        fold: Which fold.
        out: A folder; the model's is made in it.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be read.
        InputError: The data of the run is gone or changed.
    """
    config = placed_config(workdir)
    mesh = meshes.make_mesh(config.train.devices)
    task = tasks.make(config, mesh, workdir)
    folder = fold_folder(workdir, fold, task.n_folds)
    run = task.run(fold, folder)
    _, params = load_params(run, config, mesh, folder, checkpoint=None)
    task.keep_model(run, params, out)
    return out / MODEL_FOLDER


def _choose_folder(
    parent: pathlib.Path, name: str, default: str, request: dict[str, Any]
) -> pathlib.Path:
    """The folder of a request: the one that holds it already, or one that holds no other."""
    if name:
        if _holds_another(parent / name, request):
            raise ConfigError(
                f"{parent / name} holds the evaluation of another request (see {REQUEST_FILE} "
                "there); take another --name, or delete that folder"
            )
        return parent / name
    number = 1
    while _holds_another(parent / default, request):
        number += 1
        default = f"{default.removesuffix(f'-{number - 1}')}-{number}"
    return parent / default


def _holds_another(folder: pathlib.Path, request: dict[str, Any]) -> bool:
    # Without its table it is what an interrupted evaluation left.
    if not (folder / EVALUATION_FILE).exists():
        return False
    path = folder / REQUEST_FILE
    remedy = "delete that folder, or take another --name"
    return not path.exists() or read_json(path, remedy=remedy) != request


def load_params(
    run: Run,
    config: Config,
    mesh: jax.sharding.Mesh,
    workdir: pathlib.Path,
    *,
    checkpoint: int | None,
) -> tuple[int, Params]:
    """Step and parameters [members, …] of one checkpoint: the newest, or that of a given step.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
        MetricsError: Lines of before it are gone.
    """
    t = config.train
    with contextlib.closing(Checkpoints(workdir / CHECKPOINTS, keep=None)) as checkpoints:
        # Whole, however it was spread: it is only used.
        tx = optimizer_of(run, t)
        abstract = abstract_state(run, tx, mesh, members=t.members, sharded=False)
        restored = checkpoints.restore(checkpoint, abstract, run.assets, say=say)
    run.adopt(restored.assets)
    need_lines(workdir / METRICS_FILE, restored.step, restored.n_lines)
    return restored.step, on_this_host(restored.state.params, mesh)
