"""`molphenix bench molecules`: molecules per second, beside chemprop and graphium.

Two pieces of work, on the same molecules in the same batches:

    featurise   SMILES to packed batches, positional encodings included (chemprop has none)
    train       forward, backward and Adam over batches that are ready

Each library runs in a process of its own, another Python's if need be, with one process for
featurising and as many threads for training as it takes by itself. They take turns, so that all see
the same machine. Models have equal sizes as far as they can: with graphium, the same layers, width
and depth; with chemprop, whose default network of 0.3M parameters is of another kind, as many
parameters. The targets are to be faster than both at both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from molphenix_jax.bench.compared import molecules_server
from molphenix_jax.bench.measure import Row, interleaved_medians
from molphenix_jax.errors import InputError
from molphenix_jax.models.mpnn import MoleculeEncoder, MPNNConfig
from molphenix_jax.molecules import shipped_smiles, standardise
from molphenix_jax.molecules.graphs import EDGE_SIZES, NODE_SIZES, MolecularGraph, featurise_graphs
from molphenix_jax.molecules.graphs.packing import Budget, budgets_for, pack, sizes_of

OTHERS = ("chemprop", "chemprop-cuik", "graphium")


@dataclasses.dataclass(frozen=True)
class MoleculesCase:
    """What is measured.

    Attributes:
        n_molecules: Of the built-in ones.
        batch_size: Molecules in a batch.
        width: Channels of an atom, ours and graphium's.
        depth: Layers.
        repeats: Timed runs of each, taken in turn.
        other_python: Interpreter that has chemprop and graphium.
    """

    n_molecules: int = 512
    batch_size: int = 64
    width: int = 48
    depth: int = 4
    repeats: int = 5
    other_python: pathlib.Path = pathlib.Path(sys.executable)


class Regressor(nn.Module):
    """One number for each molecule."""

    config: MPNNConfig

    @nn.compact
    def __call__(self, graphs: Any) -> tuple[jax.Array, jax.Array]:
        """Returns the numbers and which molecules are real."""
        encoded = MoleculeEncoder(self.config, name="encoder")(graphs, train=True)
        return nn.Dense(1, name="head")(encoded.graphs)[:, 0], encoded.graph_mask


def run(setting: MoleculesCase) -> list[Row]:
    """All rows; takes minutes at the default size."""
    smiles = molecules(setting.n_molecules)
    graphs = [graph for graph in featurise_graphs(smiles)[0] if graph is not None]
    budgets = budgets_for(sizes_of(graphs), batch_size=setting.batch_size)
    runs: dict[str, dict[str, Callable[[], Any]]] = {
        "featurise": {"ours": lambda: _featurise(smiles, setting.batch_size, budgets)},
        "train": {},
    }
    facts: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        for name in OTHERS:
            sizes = {key: getattr(setting, key) for key in ("batch_size", "width", "depth")}
            told = {"smiles": list(smiles), **sizes}
            other = stack.enter_context(server(name, told, setting.other_python))
            facts[name] = other.facts
            if "error" not in other.facts:
                for work in other.facts["work"]:
                    runs[work][name] = lambda other=other, work=work: other.ask(work)
        runs["train"]["ours"], n_parameters = _trainer(setting, graphs, budgets)
        seconds = {
            work: interleaved_medians(each, repeats=setting.repeats) for work, each in runs.items()
        }
    return [
        _row(work, name, facts[name], seconds[work], len(smiles), n_parameters)
        for work in runs
        for name in OTHERS
        if "error" in facts[name] or work in facts[name]["work"]
    ]


def molecules(n: int) -> list[str]:
    """Standard SMILES of different shipped molecules of at most 128 atoms.

    Raises:
        InputError: There are not so many.
    """
    shipped = shipped_smiles()
    # Drugs stand first, a random sample of ChEMBL behind them: take from both. Some are salts of
    # others, some too large.
    candidates = shipped[:: max(len(shipped) // (2 * n), 1)]
    table = standardise(candidates)
    distinct = list(dict.fromkeys(table["smiles"][table["error"].isna()]))
    graphs, _ = featurise_graphs(distinct)
    kept = [text for text, graph in zip(distinct, graphs, strict=True) if graph is not None]
    if n > len(kept):
        raise InputError(f"--molecules={n}: {len(kept)} molecules are built in")
    step = len(kept) // n
    return kept[::step][:n]


def _featurise(smiles: Sequence[str], batch_size: int, budgets: Sequence[Budget]) -> list[Any]:
    graphs = [graph for graph in featurise_graphs(smiles)[0] if graph is not None]
    starts = range(0, len(graphs), batch_size)
    return [pack(graphs[start : start + batch_size], budgets) for start in starts]


def _trainer(
    setting: MoleculesCase, graphs: Sequence[MolecularGraph], budgets: Sequence[Budget]
) -> tuple[Callable[[], None], int]:
    """One pass of updates over batches that are ready, and the number of parameters."""
    model = Regressor(
        MPNNConfig(
            node_codes=NODE_SIZES,
            edge_codes=EDGE_SIZES,
            width=setting.width,
            depth=setting.depth,
            out_width=setting.width,
            virtual_node=False,
            dropout=0.0,
            edge_dropout=0.0,
        )
    )
    size = setting.batch_size
    starts = range(0, len(graphs), size)
    batches = [jax.device_put(pack(graphs[i : i + size], budgets)) for i in starts]
    optimizer = optax.adam(1e-4)
    # Nothing drops out, but the signs of eigenvectors are drawn.
    rngs = {"dropout": jax.random.key(1)}
    params = jax.jit(model.init)({"params": jax.random.key(0), **rngs}, batches[0])
    state = {"params": params, "optimizer": optimizer.init(params)}

    def loss(params: Any, batch: Any) -> jax.Array:
        result: Any = model.apply(params, batch, rngs=rngs)
        predicted, real = result
        return jnp.where(real, predicted**2, 0.0).sum() / real.sum()

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: dict[str, Any], batch: Any) -> dict[str, Any]:
        gradient = jax.grad(loss)(state["params"], batch)
        changes, kept = optimizer.update(gradient, state["optimizer"])
        return {"params": optax.apply_updates(state["params"], changes), "optimizer": kept}

    def train() -> None:
        nonlocal state
        for batch in batches:
            state = update(state, batch)
        jax.block_until_ready(state)

    return train, sum(leaf.size for leaf in jax.tree.leaves(params))


def _row(
    work: str,
    name: str,
    facts: dict[str, Any],
    seconds: dict[str, float],
    n_molecules: int,
    n_parameters: int,
) -> Row:
    title = {"featurise": "SMILES to packed batches", "train": "training step"}[work]
    per_thousand = {key: 1000 * value / n_molecules for key, value in seconds.items()}
    notes = [f"{1000 / per_thousand['ours']:,.0f} molecules/s"]
    if name in per_thousand:
        notes[0] += f" against {1000 / per_thousand[name]:,.0f}"
        if work == "train":
            notes.append(f"{n_parameters:,} parameters against {facts['parameters']:,}")
    else:
        notes.append(f"{name} was not measured: {facts['error']}")
    return Row(
        f"{title} ({name})",
        "s per 1,000 molecules",
        per_thousand["ours"],
        per_thousand.get(name),
        facts.get("name", name),
        target=1.0,
        note=", ".join(notes),
    )


class _Server:
    """A library in another process, that does what it is asked for."""

    def __init__(self, process: subprocess.Popen[str], name: str, setting: dict[str, Any]):
        self._process = process
        self._name = name
        self.facts: dict[str, Any] = self.ask(json.dumps(setting))

    def ask(self, line: str) -> Any:
        """Sends a line and waits for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise InputError(f"{self._name} stopped in --other-python; its errors are above")
        return json.loads(answer)


@contextlib.contextmanager
def server(
    name: str,
    setting: dict[str, Any],
    other_python: pathlib.Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[_Server]:
    """A library of `molecules_server` in another process, which ends with the block.

    Args:
        name: Of the library.
        setting: What it is told first: JSON types.
        other_python: Interpreter that has it.
        environment: Variables beside this process' own.
    """
    program = str(pathlib.Path(molecules_server.__file__))
    # Not our packages: the other Python has its own.
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        process = subprocess.Popen(
            [str(other_python), program, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**own, **(environment or {})},
        )
    except OSError as error:
        raise InputError(f"--other-python={other_python}: {error.strerror}") from error
    try:
        yield _Server(process, name, setting)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # ends it
        process.wait()
        process.stdout.close()
