"""Runs on a screen with two cell lines: streamed as in memory, and other screens beside it."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.screen import ScreenError
from molphenix_jax.tasks.align.evaluation import BaselineInputs, rank_run
from molphenix_jax.tasks.align.training.tables import gather
from tests import tiny

pytestmark = pytest.mark.long


def in_lines(cache, path, lines: tuple[str, str], *, seed: int = 0, **columns) -> str:
    """The tiny wells, those of odd columns of a plate in another cell line than the others."""
    table = tiny.wells(cache, seed=seed)
    odd = table["well"].str[1:].astype(int) % 2 == 1
    table.assign(cell_line=np.where(odd, *lines), **columns).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def wells(cache, tmp_path_factory) -> str:
    return in_lines(cache, tmp_path_factory.mktemp("wells") / "wells.parquet", ("U2OS", "A549"))


def test_a_streamed_run_is_that_in_memory(wells, cache, tmp_path):
    runs, records, metrics = {}, {}, {}
    for placement in ("device", "stream"):
        folder = tmp_path / placement
        config = tiny.config(cache, data__wells=wells, data__placement=placement)
        tiny.train_here(config, folder)
        records[placement] = json.loads((folder / "evaluation.json").read_text())
        metrics[placement] = list(read_metrics(folder / METRICS_FILE))
        task, _ = tiny.make(config, folder / "again")
        with console.capture():
            runs[placement] = task.run(0, folder / "again")
    assert runs["stream"].place_tables(runs["stream"].mesh) == ()
    assert runs["device"].screen.conditions.labels == ("A549", "U2OS")
    for step in (0, 3):
        ours, theirs = (gather(r.batch(step), r.tables, meshes.make_mesh(1)) for r in runs.values())
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(metrics["stream"], metrics["device"], strict=True):
        assert a["kind"] == b["kind"]
        numbers = [{k: v for k, v in line.items() if k != "kind"} for line in (a, b)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-6)
    assert records["stream"]["conditions"] == records["device"]["conditions"]
    for a, b in zip(records["stream"]["results"], records["device"]["results"], strict=True):
        # Sums of another program round otherwise: a query near a tie may pass its neighbour.
        assert (a["split"], a["subset"], a["n_queries"]) == (
            b["split"],
            b["subset"],
            b["n_queries"],
        )
        near = pytest.approx(b["median_rank_pct"], abs=1.01 * 100 / b["n_gallery"])
        assert a["median_rank_pct"] == near


def test_an_unseen_screen_in_other_lines_is_ranked_where_the_model_has_an_input(
    wells, cache, tmp_path
):
    other = in_lines(cache, tmp_path / "other.parquet", ("u2os", "HeLa"), seed=1)
    config = tiny.config(cache, data__wells=wells, eval__unseen_screens=other)
    task, said = tiny.make(config, tmp_path / "run")
    assert "are left out, for the model has no input for their condition: HeLa" in said
    (screen,) = task.unseen.values()
    with console.capture():
        run = task.run(0, tmp_path / "run")
        params = jax.tree.map(lambda x: x[None], jax.jit(run.init)(jax.random.key(0)))
        ranks = rank_run(run, params, task.unseen, features=BaselineInputs())
    tables = {(t.setting.split, t.setting.subset): t for t in ranks.tables}
    n_queries = len(tables["unseen_screen:other", "all"].molecule)
    u2os = screen.conditions.labels.index("u2os")
    seen = set(run.screen.molecules["inchikey"].iloc[run.screen.molecule[run.split.train]].str[:14])
    of = screen.molecules["inchikey"].str[:14].iloc[screen.molecule].to_numpy()
    wanted = sum(c == u2os and key not in seen for c, key in zip(screen.condition, of, strict=True))
    assert n_queries == wanted > 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [(("HeLa", "MCF7"), None), (None, "no column tells cell_line, which the model is told")],
)
def test_an_unseen_screen_in_unknown_lines_is_said(lines, message, wells, cache, tmp_path):
    path = tmp_path / "other.parquet"
    if lines is None:
        tiny.wells(cache, seed=1).to_parquet(path)
    else:
        in_lines(cache, path, lines, seed=1)
    config = tiny.config(cache, data__wells=wells, eval__unseen_screens=str(path))
    if message:
        with pytest.raises(ScreenError, match=message):
            tiny.make(config, tmp_path / "run")
        return
    task, said = tiny.make(config, tmp_path / "run")
    assert "HeLa; MCF7" in said
    with console.capture():
        run = task.run(0, tmp_path / "run")
        params = jax.tree.map(lambda x: x[None], jax.jit(run.init)(jax.random.key(0)))
        ranks = rank_run(run, params, task.unseen, features=BaselineInputs())
    (gone,) = (m for m in ranks.not_computed if m["split"] == "unseen_screen:other")
    assert gone["reason"]


def test_doses_outside_of_the_grid_are_said_and_have_a_column(wells, cache, tmp_path):
    table = pd.read_parquet(in_lines(cache, tmp_path / "x.parquet", ("U2OS", "A549"), seed=1))
    table["concentration_um"] *= 30
    table.to_parquet(tmp_path / "other.parquet")
    config = tiny.config(
        cache, data__wells=wells, eval__unseen_screens=str(tmp_path / "other.parquet")
    )
    task, _ = tiny.make(config, tmp_path / "run")
    with console.capture() as said:
        run = task.run(0, tmp_path / "run")
        params = jax.tree.map(lambda x: x[None], jax.jit(run.init)(jax.random.key(0)))
        rank_run(run, params, task.unseen, features=BaselineInputs())
    assert "have doses that training lacks (30, 300 µM): they count as the nearest" in " ".join(
        said.get().split()
    )
    for dose in np.geomspace(1e-6, 1e6, 97):
        assert np.asarray(run.encoding(np.array([dose], np.float32))).sum() == 1
