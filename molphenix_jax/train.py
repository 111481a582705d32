"""The one training loop; it knows no molecule. A task gives runs, a run gives batches and a loss.

The order of the loop is fixed, do not change it: evaluate the state before the update, save {state,
data position}, only then take the next batch. So checkpoint k always means "k updates done, batch
k not yet taken". Randomness is fold_in(named stream, step): nothing to save, nothing that a new
stream disturbs. What a killed run wrote after its newest checkpoint is dropped and computed again,
and comes out bit for bit the same.
"""

import contextlib
import math
import pathlib
from time import perf_counter as clock
from time import sleep
from typing import Any

import jax
import optax

from molphenix_jax import signals, tasks
from molphenix_jax.errors import InputError
from molphenix_jax.memory import need_memory
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime import processes
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.loader import Loader
from molphenix_jax.runtime.optimizer import optimizer_of, warmup_note
from molphenix_jax.runtime.progress import Progress, say
from molphenix_jax.runtime.run import Params, Run
from molphenix_jax.runtime.step import (
    ROOM_STEPS,
    Dispatch,
    State,
    count_parameters,
    finite_names,
    make_init,
    make_step,
    make_steps,
    place_state,
    state_shapes,
)
from molphenix_jax.runtime.workdir.checkpointing import CHECKPOINTS, Checkpoints, saved_steps
from molphenix_jax.runtime.workdir.folder import EVALUATION_FILE, fold_folder
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, TIMING_FILE, MetricsFile
from molphenix_jax.runtime.workdir.writers import writers_of
from molphenix_jax.storage import VOID_AFTER_S, claim
from molphenix_jax.tasks.stored import find_run, need_own_folder

# Until all hosts of a network drive see a file; some keep what they have read for so long.
SHARED_WITHIN_S = 30.0


class NonFiniteError(InputError):
    """A value of a training step is NaN or infinite; names the step and the first culprit."""


def train_and_evaluate(config: Config, workdir: pathlib.Path) -> None:
    """Trains every fold of a config, evaluates and reports; continues what was stopped.

    Args:
        config: A resolved config, e.g. of `configs/s2l.py`.
        workdir: Folder of the run; docs/architecture.md, "Run", says what it holds.

    Raises:
        ConfigError: The config contradicts itself, or the workdir belongs to another one.
        StorageError: Another process trains in the workdir.
        InputError: Data that cannot be used.
    """
    tasks.validate(config)
    need_own_folder(workdir, config)
    # A finished run is only read; of a job of several processes the first claims for all.
    claims = not (workdir / EVALUATION_FILE).exists() and processes.is_first()
    words = {"doing": "trained", "remedy": "wait for it or take another --workdir"}
    # A job that starts again after it has lost a host waits until that host's claim is void.
    wait_s = VOID_AFTER_S if processes.several() else 0
    with claim(workdir, **words, wait_s=wait_s) if claims else contextlib.nullcontext():
        _train_and_evaluate(config, workdir)


def _train_and_evaluate(config: Config, workdir: pathlib.Path) -> None:
    begun = find_run(workdir, config)
    if processes.first_says(begun.finished):
        say(f"the run in {workdir} is finished; its table is in {workdir / 'report'}")
        say("raise train.steps to train on, or evaluate with --mode=evaluate")
        return
    mesh = meshes.make_mesh(config.train.devices)
    say(f"devices: {meshes.describe(mesh)}")
    with processes.first_before_others("prepare"):
        task = tasks.make(config, mesh, workdir)
    results = []
    for fold in range(task.n_folds):
        folder = fold_folder(workdir, fold, task.n_folds)
        run = task.run(fold, folder)
        if fold == 0:
            need_memory_to_train(run, config, mesh)
            if processes.is_first():
                # Only now: a command that fails before has claimed nothing.
                begun.claim(config, say=say)
                task.keep(workdir)
            n = count_parameters(run.shapes)
            members = config.train.members
            say(f"model: {n:,} parameters" + (f" × {members} members" if members > 1 else ""))
            if note := warmup_note(config.train):
                say(note)
        if processes.is_first():
            task.keep_run(run, folder)
        label = f"fold {fold + 1}/{task.n_folds} " if task.n_folds > 1 else ""
        params = fit(run, config, mesh, folder, label=label)
        if processes.is_first():
            task.keep_model(run, params, folder)
        processes.begin("evaluate")
        if processes.is_first() or task.evaluates_in_shares:
            results.append(task.evaluate(run, params, folder))
        processes.barrier("evaluate", alone=True)
    processes.begin("report")
    if processes.is_first():
        task.conclude(results, workdir, workdir)
    processes.barrier("report", alone=True)


def need_memory_to_train(run: Run, config: Config, mesh: jax.sharding.Mesh) -> None:
    """Ends a training whose state alone is more than a device has.

    Raises:
        InputError: It is; says how much, and what to lower.
    """
    t = config.train
    state = state_shapes(run, optimizer_of(run, t), members=t.members)
    # Each member has its gradients beside its parameters and the moments of its optimizer. Where
    # these are spread, the parameters are once more whole on each device.
    placed = place_state(state, mesh, sharded=t.shard_state)
    held = [*zip(jax.tree.leaves(state), jax.tree.leaves(placed), strict=True)]
    held += zip(jax.tree.leaves(state.params), jax.tree.leaves(placed.params), strict=True)
    n_bytes = sum(
        math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, place in held
    )
    if t.shard_state:
        n_bytes += sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    need_memory(
        f"training {count_parameters(run.shapes):,} parameters × {t.members:,} members",
        n_bytes,
        f"lower train.members={t.members}, or widths and depths of the model"
        + ("" if t.shard_state else ", or on several devices set train.shard_state"),
        there=meshes.memory_per_device(mesh),
    )


class _Recorder:
    """Holds metrics on the device until they are needed, then checks and writes them.

    The loop never waits for the device but here, so steps are dispatched ahead of their results.
    """

    def __init__(self, file: MetricsFile, names: list[str], log_every: int):
        self._file, self._names, self._log_every = file, names, log_every
        self._pending: list[tuple[int, int, dict[str, jax.Array]]] = []
        self.last_loss = float("nan")

    def add(self, step: int, taken: int, metrics: dict[str, jax.Array]) -> None:
        """Notes the metrics of the updates that made `step` updates done: the first `taken`."""
        self._pending.append((step - taken, taken, metrics))
        if step // self._log_every > (step - taken) // self._log_every:
            self.flush()

    def flush(self) -> None:
        """Fetches, checks and writes what is pending.

        Raises:
            NonFiniteError: At the first step with a NaN or infinite value.
        """
        pending, self._pending = jax.device_get(self._pending), []
        for before, taken, stacked in pending:
            for i in range(taken):
                self._record(before + i + 1, {k: v[i] for k, v in stacked.items()})

    def _record(self, step: int, metrics: dict[str, Any]) -> None:
        finite = metrics.pop("finite")
        if not finite.all():
            culprits = [n for n, ok in zip(self._names, finite, strict=True) if not ok]
            more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
            raise NonFiniteError(
                f"update {step} is not finite: {', '.join(culprits[:3])}{more}. The newest "
                "checkpoint is from before; lower train.learning_rate or train.grad_clip, or "
                "look at the batch of that step"
            )
        self.last_loss = float(metrics["loss"])
        if step % self._log_every == 0:
            self._file.write("train", step, {k: float(v) for k, v in metrics.items()})


class _Stopwatch:
    """Speed of the updates between two validations, and what of their time went by for data."""

    def __init__(self, dispatch: Dispatch, step: int):
        self._dispatch = dispatch
        self.restart(step)

    def restart(self, step: int) -> None:
        """Begins to count."""
        self._step, self._began, self._dispatches = step, clock(), 0
        self._waited, self._compiling = 0.0, self._dispatch.seconds_compiling

    def count_data(self, began: float, state: State) -> None:
        """Counts the time since `began` for the batches of one dispatch.

        Not if the devices are still busy with earlier updates.

        Reading that they hide behind costs nothing; of what they do not hide all is counted.
        """
        self._dispatches += 1
        step: Any = state.step  # `jax.Array` does not declare the method below
        if step.is_ready():
            self._waited += clock() - began

    def lap(self, step: int) -> dict[str, float]:
        """A line of `timing.jsonl`; seconds are without those of compiling."""
        compiling = self._dispatch.seconds_compiling - self._compiling
        seconds = clock() - self._began - compiling
        return {
            "seconds": round(seconds, 3),
            "steps_per_second": round((step - self._step) / seconds, 3),
            "steps_per_dispatch": round((step - self._step) / self._dispatches, 3),
            "data_wait_share": round(self._waited / seconds, 5),
            "compile_seconds": round(compiling, 3),
        }


def fit(
    run: Run,
    config: Config,
    mesh: jax.sharding.Mesh,
    workdir: pathlib.Path,
    *,
    label: str = "",
) -> Params:
    """Trains a run to its last step, or continues it from its newest checkpoint.

    Args:
        run: What to train.
        config: The whole config; `train` and `seed` are used.
        mesh: Devices; batches are spread over them, parameters and moments are whole on each or,
            with `train.shard_state`, spread too.
        workdir: Gets `metrics.jsonl`, `timing.jsonl`, `checkpoints/`, and the folders of the
            writers that `train` asks for.
        label: Stands before what is printed.

    Returns:
        Parameters with a leading axis [members].

    Raises:
        NonFiniteError: A NaN or infinite loss or gradient.
        CheckpointError: Checkpoints are there and none can be read.
        Stopped: A signal has come; the state is saved.
        MissingExtraError: TensorBoard's events are asked for without tensorboardX.
    """
    processes.begin("restore")
    t = config.train
    writes = processes.is_first()
    writers = writers_of(t, workdir) if writes else ()
    tx = optimizer_of(run, t)
    need_same_data(run)
    need_same_folder(workdir)
    checkpoints = Checkpoints(workdir / CHECKPOINTS, keep=t.keep_checkpoints)
    abstract = abstract_state(run, tx, mesh, members=t.members, sharded=t.shard_state)
    placed = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    restored = checkpoints.restore_latest(abstract, run.assets, say=say)
    loader = Loader(run, mesh, n_steps=t.steps, prefetch=t.prefetch)
    if restored is None:
        init = make_init(run, tx, members=t.members, seed=config.seed)
        state, start = jax.jit(init, out_shardings=placed)(), None
    else:
        run.adopt(restored.assets)
        loader.seek(restored.position)
        state, start = restored.state, restored.step
        say(f"{label}continuing after update {start:,}")
        if restored.n_lines and not (workdir / METRICS_FILE).exists():
            say(f"{label}{METRICS_FILE} is gone: its {restored.n_lines:,} lines are lost")
    spread = mesh if t.shard_state else None
    step_fn = make_step(run, tx, members=t.members, seed=config.seed, spread=spread)
    dispatch = Dispatch(make_steps(step_fn), mesh, run.place_tables(mesh), placed)
    metrics_file = MetricsFile(
        workdir / METRICS_FILE,
        restored_step=start,
        n_lines=restored.n_lines if restored else 0,
        writes=writes,
        writers=writers,
    )
    timing_file = MetricsFile(workdir / TIMING_FILE, restored_step=start, writes=writes)
    recorder = _Recorder(metrics_file, finite_names(run.shapes), t.log_every)
    step = start or 0
    stopwatch, stopping = _Stopwatch(dispatch, step), processes.Stopping()

    def save() -> None:
        recorder.flush()
        metrics_file.to_disk()
        checkpoints.save(step, state, run.assets, loader.position(), n_lines=metrics_file.n_lines)

    try:
        # A CPU's dispatch is cheap; nothing that is computed depends on the number.
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        most = t.steps_per_dispatch or (1 if on_cpu else ROOM_STEPS)
        with Progress(label, total=t.steps, done=step) as progress, signals.deferred():
            processes.barrier("restore")
            processes.begin("train")
            while True:
                if stopping.at(step):
                    if step != start:
                        say(f"{label}saving the state after update {step:,}")
                        save()
                    signals.stop_if_asked()
                last = step == t.steps
                if _validates(step, t):
                    recorder.flush()
                    if step > (start or 0):
                        timing_file.write("train", step, stopwatch.lap(step))
                    try:
                        with contextlib.nullcontext() if stopping.is_agreed() else signals.prompt():
                            validation = run.validate(on_this_host(state.params, mesh))
                    except signals.Stopped:
                        continue
                    metrics_file.write("validation", step, validation)
                    progress.note(validation, recorder.last_loss)
                    stopwatch.restart(step)
                if (step % t.checkpoint_every == 0 or last) and step != start:
                    save()
                if last:
                    break
                if stopping.beyond(step):
                    continue
                began = clock()
                batches = loader.take(min(most, _until_due(step, t)))
                stopwatch.count_data(began, state)
                state, metrics = dispatch(state, batches)
                stopping.dispatched(step)
                taken = len(jax.tree.leaves(batches)[0])
                step += taken
                recorder.add(step, taken, metrics)
                progress.advance(taken)
            checkpoints.wait()
            processes.barrier("train")
    finally:
        stopping.close()
        loader.close()
        metrics_file.close()
        timing_file.close()
        checkpoints.close()
    return on_this_host(state.params, mesh)


def need_same_data(run: Run) -> None:
    """Has each process take what the first one fitted on the data, to the bit.

    The programs of all have it as constants, and where processors differ so do its last bits.

    Raises:
        InputError: Processes have read different data.
    """
    if not processes.several():
        return
    try:
        run.adopt(processes.of_first(run.assets))
    except ConfigError as error:
        raise InputError(
            f"process {jax.process_index()} reads other data than process 0 ({error}): give all "
            "the same files, and one --config.data.cache on a file system that they share"
        ) from error


def need_same_folder(workdir: pathlib.Path) -> None:
    """Stops where a process does not see the files of the first one's workdir.

    Raises:
        ConfigError: The hosts do not share it.
    """
    seen = processes.first_says([workdir.is_dir(), saved_steps(workdir)])
    deadline = clock() + SHARED_WITHIN_S
    while seen != (here := [workdir.is_dir(), saved_steps(workdir)]):
        if clock() > deadline:
            raise ConfigError(
                f"process {jax.process_index()} sees the checkpoints {here[1]} in {workdir}, "
                f"process 0 sees {seen[1]}: give a --workdir on a file system that all hosts share"
            )
        signals.stop_if_asked()
        sleep(0.5)


def _validates(step: int, t: Config) -> bool:
    return step % t.validate_every == 0 or step == t.steps


def _until_due(step: int, t: Config) -> int:
    """Updates until the next validation, checkpoint or end: one dispatch goes no further."""
    return min(
        t.steps - step,
        t.validate_every - step % t.validate_every,
        t.checkpoint_every - step % t.checkpoint_every,
    )


def on_this_host(params: Params, mesh: jax.sharding.Mesh) -> Params:
    """Parameters whole on each device, as arrays of this process alone where there are several."""
    everywhere = meshes.replicated(mesh)
    if not all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params)):
        params = jax.jit(lambda spread: spread, out_shardings=everywhere)(params)
    if jax.process_count() == 1:
        return params
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), params)


def abstract_state(
    run: Run,
    tx: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
    *,
    members: int,
    sharded: bool,
) -> State:
    """Shapes, types and placement of the state, for the restore."""
    state = state_shapes(run, tx, members=members)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        state,
        place_state(state, mesh, sharded=sharded),
    )
