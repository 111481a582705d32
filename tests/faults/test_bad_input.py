"""Bad data and damaged folders: what a person is told, and what happens to the run."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.evaluate import evaluate
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, MetricsError, read_metrics
from molphenix_jax.screens.screen import ScreenError
from molphenix_jax.wells.table import WellsError
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def wells(cache) -> pd.DataFrame:
    """The tiny wells table, with one column per feature so that a CSV can hold it."""
    table = tiny.wells(cache)
    features = np.stack(table["embedding"].to_list())
    columns = {f"Cells_f{i}": features[:, i] for i in range(12)}
    return pd.concat([table.drop(columns="embedding"), pd.DataFrame(columns)], axis=1)


@pytest.fixture
def load(cache, tmp_path):
    """Writes a wells table and prepares it as a run does; returns task, what was said, workdir."""

    def load(table: pd.DataFrame, **changes):
        path = tmp_path / "screen.csv"
        table.to_csv(path, index=False)
        config = tiny.config(cache, data__wells=str(path), **changes)
        task, said = tiny.make(config, tmp_path / "run")
        return task, said, tmp_path / "run"

    return load


def rejected(workdir) -> dict[int, tuple[str, str]]:
    """Row → (field, reason) of `rejected.csv`."""
    table = pd.read_csv(workdir / "rejected.csv")
    return {row.row: (row.field, row.reason) for row in table.itertuples()}


def treated_rows(wells: pd.DataFrame, n: int) -> list[int]:
    """0-based rows of the first treated wells."""
    return np.flatnonzero(~wells["is_control"])[:n].tolist()


# Errors.


def test_the_terminal_shows_one_sentence_without_a_traceback(cache, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    done = tiny.run(tmp_path / "run", cache, data__wells=str(tmp_path / "empty.csv"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert re.fullmatch(r"error: .*empty\.csv.*", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("content", ["", "plate,well,smiles,concentration_um,is_control,f0\n"])
def test_an_empty_file(cache, tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"empty\.csv"):
        tiny.make(tiny.config(cache, data__wells=str(path)), tmp_path / "run")


def test_a_missing_file(cache, tmp_path):
    path = tmp_path / "nowhere.csv"
    with pytest.raises(WellsError, match=r"nowhere\.csv cannot be read: No such file"):
        tiny.make(tiny.config(cache, data__wells=str(path)), tmp_path / "run")


def test_no_smiles_column(load, wells):
    with pytest.raises(WellsError, match=r"no SMILES column.*columns"):
        load(wells.rename(columns={"smiles": "mixture"}))


def test_all_smiles_bad(load, wells):
    wells.loc[~wells["is_control"], "smiles"] = "C1CC"
    with pytest.raises(WellsError, match=r"no usable treated well among \d+ rows.*smiles"):
        load(wells)


def test_all_features_constant(load, wells):
    wells.loc[:, wells.columns.str.startswith("Cells_")] = 1.0
    with pytest.raises(WellsError, match="constant"):
        load(wells)


def test_unseen_screen_of_another_width(load, wells, tmp_path):
    other = tmp_path / "narrow.csv"
    wells.drop(columns=["Cells_f3", "Cells_f4"]).to_csv(other, index=False)
    with pytest.raises(InputError, match=r"narrow\.csv.*Cells_f3"):
        load(wells, eval__unseen_screens=str(other))


def test_unseen_screen_whose_embedding_has_another_width(cache, tmp_path):
    table = tiny.wells(cache)
    paths = [tmp_path / "wide.parquet", tmp_path / "narrow.parquet"]
    table.to_parquet(paths[0])
    table.assign(embedding=table["embedding"].map(lambda x: x[:20])).to_parquet(paths[1])
    config = tiny.config(cache, data__wells=str(paths[0]), eval__unseen_screens=str(paths[1]))
    with pytest.raises(InputError, match=r"narrow\.parquet.*32"):
        tiny.make(config, tmp_path / "run")


# Bad rows and unusual layouts, which a run survives.


def test_bad_rows_are_rejected_with_row_field_and_reason(load, wells):
    a, b, c, d, e = treated_rows(wells, 5)
    wells = wells.astype({"concentration_um": object})
    wells.loc[a, "Cells_f2"] = np.nan
    wells.loc[b, "Cells_f5"] = np.inf
    wells.loc[c, "concentration_um"] = -1
    wells.loc[d, "concentration_um"] = "ten"
    wells.loc[e, "smiles"] = "not a molecule"
    wells["Cells_constant"] = 7.0
    task, said, workdir = load(wells)
    found = rejected(workdir)
    assert set(found) == {row + 1 for row in (a, b, c, d, e)}
    assert found[a + 1][0] == "Cells_f2"
    assert found[b + 1][0] == "Cells_f5"
    assert "missing, NaN or infinite" in found[a + 1][1]
    assert found[c + 1] == ("concentration_um", "concentration is negative")
    assert found[d + 1] == ("concentration_um", "concentration is not a number")
    assert found[e + 1][0] == "smiles"
    assert "5 rows were rejected" in said
    assert "constant in the seven digits that are read: Cells_constant" in said
    assert len(task.screen.replicates) == (~wells["is_control"]).sum() - 5


def test_a_batch_without_controls_is_named(load, wells):
    lonely = wells["batch"] == "experiment-2"
    wells = wells[~(lonely & wells["is_control"])]
    task, said, _ = load(wells, data__group_by="batch")
    assert re.search(r"1 groups have fewer than 2 controls .*: experiment-2", said)
    assert np.isfinite(task.screen.replicates).all()


def test_no_control_wells_at_all(load, wells):
    task, said, _ = load(wells[~wells["is_control"]])
    assert "no control wells" in said
    assert "nothing could be corrected against controls" in said
    assert np.isfinite(task.screen.replicates).all()
    assert task.screen.replicates.std() == pytest.approx(1, abs=0.3)


def single_replicates(wells: pd.DataFrame) -> pd.DataFrame:
    one = wells[wells["batch"] == "experiment-1"]
    return one.drop_duplicates(["smiles", "concentration_um"]).reset_index(drop=True)


def test_single_replicates_as_inactive_leave_nothing_to_train_on(load, wells):
    task, said, workdir = load(single_replicates(wells), data__undefined_p="inactive")
    assert re.search(r"(\d+) of \1 perturbations have a single replicate", said)
    with pytest.raises(ScreenError, match=r"^0 of \d+ training pairs.*data\.undefined_p=active"):
        task.run(0, workdir)


def test_single_replicates_as_active_train_and_the_missing_subset_is_said(wells, cache, tmp_path):
    path = tmp_path / "single.csv"
    controls = wells[wells["is_control"]]
    pd.concat([single_replicates(wells), controls]).drop_duplicates(["plate", "well"]).to_csv(
        path, index=False
    )
    config = tiny.config(
        cache, data__wells=str(path), data__undefined_p="active", data__psi=0.1, train__steps=2
    )
    said = tiny.train_here(config, tmp_path / "run")
    assert re.search(r"training pairs have no p-value and count as active", said)
    record = pd.read_json(tmp_path / "run" / "evaluation.json", typ="series")
    assert {row["subset"] for row in record["results"]} == {"all"}
    reasons = [m["reason"] for m in record["not_computed"] if m["subset"] == "active"]
    assert any(
        re.search(r"0 of (\d+) perturbations .*\(\1 without a p-value\)", r) for r in reasons
    )


# Damaged and foreign folders.


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """A finished run, to be copied."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    tiny.train_here(tiny.config(cache), workdir)
    return workdir


# orbax ends its event loop at the first array it cannot read; the other reads still report to it.
@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)
def test_a_truncated_checkpoint_falls_back_and_ends_the_same(finished, cache, tmp_path):
    config, workdir = tiny.config(cache), tmp_path / "run"
    shutil.copytree(finished, workdir)
    # As if it had been killed in the evaluation, with the newest checkpoint cut short.
    (workdir / "evaluation.json").unlink()
    for path in (workdir / "checkpoints" / "step_4").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = tiny.train_here(config, workdir)
    assert re.search(r"checkpoint 4 .* cannot be read .*falling back", said)
    assert "continuing after update 2" in said
    for name in (METRICS_FILE, "evaluation.json"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_workdir_of_another_config_is_refused_with_the_difference(finished, cache):
    before = (finished / METRICS_FILE).read_bytes()
    with pytest.raises(ConfigError, match=r"another config(.|\n)*train\.learning_rate: .* → 0\.5"):
        tiny.train_here(tiny.config(cache, train__learning_rate=0.5), finished)
    assert (finished / METRICS_FILE).read_bytes() == before
    assert len(list(read_metrics(finished / METRICS_FILE))) == 7


@pytest.mark.parametrize("way", ["cut in its middle", "without a line"])
def test_metrics_that_lost_lines_are_no_whole_curve(finished, cache, tmp_path, way):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    metrics = workdir / METRICS_FILE
    lines = metrics.read_bytes().splitlines(keepends=True)
    cut = b"".join(lines[:3]) + lines[3][:20] if way == "cut in its middle" else lines[0] + lines[2]
    metrics.write_bytes(cut)
    lost = pytest.raises(MetricsError, match=r"of the 7 lines up to update 4 are missing: put the")
    with lost, console.capture():
        evaluate(None, workdir)
    (workdir / "evaluation.json").unlink()
    with lost:
        tiny.train_here(tiny.config(cache), workdir)
    assert metrics.read_bytes() == cut
    metrics.unlink()
    assert "metrics.jsonl is gone: its 7 lines are lost" in tiny.train_here(
        tiny.config(cache), workdir
    )
