"""`molphenix ablate`: runs are ordinary ones, are made once, and the table is theirs."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from tests import tiny

pytestmark = pytest.mark.long

FILE = """
from molphenix_jax.ablations import Ablation, Claim, Row

FIELDS = {fields}


def get_ablation(tier):
    return Ablation(
        title="Rates",
        paper="none",
        rows=[
            Row("slow", "slow", {"train.learning_rate": 1e-4}),
            Row("fast", "fast", {"train.learning_rate": 1e-2}),
            {more}
            Row("given", "given", {"molecules.embeddings": "mine={mine}"}, needs=("mine",)),
        ],
        reference="slow",
        fields=FIELDS,
        claims=[
            Claim("fast is faster", "lost", (("fast", "slow"),), subset="all"),
            Claim("and nearer", "lost", (("fast", "slow"),), subset="all", metric="ndcg"),
        ],
    )
"""
SAME = 'Row("same", "same", {"train.learning_rate": 1e-2, "train.prefetch": 0}),'
FAILS = 'Row("fails", "fails", {"data.psi": 1e-9, "data.undefined_p": "inactive"}),'


def write(folder: pathlib.Path, cache: pathlib.Path, *, more: str = "") -> pathlib.Path:
    fields = {**tiny.FIELDS, "data.cache": str(cache / "screens"), "train.steps": 4}
    path = folder / "rates.py"
    path.write_text(FILE.replace("{fields}", repr(fields)).replace("{more}", more))
    return path


def ablate(*arguments: object) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["ablate", *map(str, arguments)])
    return status, said.get()


@pytest.fixture(scope="module")
def made(cache, tmp_path_factory):
    """Two seeds of two rows, made as two parts of a job array."""
    folder = tmp_path_factory.mktemp("ablate")
    given = [write(folder, cache), "--tier=smoke", "--seeds=2", f"--workdir={folder / 'work'}"]
    first, said_first = ablate(*given, "--shard=1/2")
    assert not (folder / "work" / "rates" / "table.md").exists()
    second, said_second = ablate(*given, "--shard=2/2")
    assert (first, second) == (0, 0), said_first + said_second
    return folder, given, said_first, said_second


def test_parts_of_a_job_array_make_every_run_once(made):
    folder, given, said_first, said_second = made
    assert "2 runs, 0 of them finished" in said_first
    assert "SKIP rates/given: missing input: --input=mine=" in said_first
    assert "2 of 4 runs are not finished" in said_first
    assert "rates/slow/seed_0" in said_first
    assert "rates/fast/seed_1" in said_second
    work = folder / "work"
    before = tiny.files(work, but=work / "rates" / "table.md")
    status, said = ablate(*given)
    assert status == 0, said
    assert "4 runs, 4 of them finished" in said
    assert "as measured" in said
    changed = {
        name
        for name, found in tiny.files(work, but=work / "rates" / "table.md").items()
        if before.get(name) != found and pathlib.Path(name).is_file()
    }
    assert {pathlib.Path(name).parent.name for name in changed} <= {"rates"}


def test_the_table_has_the_numbers_of_the_runs(made):
    work = made[0] / "work" / "rates"
    table = json.loads((work / "table.json").read_text())
    for row in ("slow", "fast"):
        own = [
            result["top_5pct"]
            for seed in (0, 1)
            for result in json.loads((work / row / f"seed_{seed}/evaluation.json").read_text())[
                "results"
            ]
            if (result["split"], result["subset"]) == ("unseen_molecules", "all")
            and (result["model"], result["direction"]) == ("molphenix", "profile_to_molecule")
            and result["gallery"] == "full"
        ]
        line = next(
            line
            for line in table["results"]
            if (line["row"], line["subset"], line["metric"]) == (row, "all", "top_5pct")
        )
        assert line["seeds"] == pytest.approx(own)
        assert line["mean"] == pytest.approx(np.mean(own))
        assert line["sd"] == pytest.approx(np.std(own, ddof=1))
    frame = pd.read_csv(work / "table.csv")
    assert {*frame["row"]} == {"slow", "fast", "oracle"}
    by_row = frame[(frame["subset"] == "all") & (frame["metric"] == "top_5pct")].set_index("row")
    difference = by_row.loc["fast", "mean"] - by_row.loc["slow", "mean"]
    assert by_row.loc["fast", "difference"] == pytest.approx(difference)
    page = (work / "table.md").read_text()
    assert "- given: missing input: --input=mine=…" in page
    assert "| fast |" in page
    assert {path.name for path in work.glob("*.png")} == {"figure.png", "samples_seen.png"}
    assert table["claims"][0]["contrasts"]
    graded = [x for x in table["results"] if x["metric"] == "ndcg" and x["subset"] == "all"]
    by_name = {line["row"]: line for line in graded}
    for row in ("slow", "fast"):
        own = [
            result["ndcg"]
            for seed in (0, 1)
            for result in json.loads((work / row / f"seed_{seed}/evaluation.json").read_text())[
                "graded"
            ]
            if (result["split"], result["subset"]) == ("unseen_molecules", "all")
            and result["model"] == "molphenix"
        ]
        assert by_name[row]["seeds"] == pytest.approx(own)
    assert 0 < by_name["fast"]["chance"] < by_name["oracle"]["mean"] <= 1
    claim = table["claims"][1]["contrasts"][0]
    assert claim["difference"] == pytest.approx(by_name["fast"]["difference"])
    assert "nDCG" in page
    assert [c["samples"] for c in table["curves"]] == [[0, 64, 128]] * 2
    for curve in table["curves"]:  # of two seeds, active pairs in the gallery of all
        assert np.shape(curve["active"]) == (2, 3)
        assert not np.allclose(np.mean(curve["active"], axis=0), curve["recall"])


def test_another_tier_or_other_fields_need_another_workdir(made):
    _, given, *_ = made
    status, said = ablate(given[0], "--tier=small", given[3])
    assert status == 1
    assert "holds runs of another tier or other inputs" in said
    status, said = ablate(*given, "--set", "eval.psi=0.5")
    assert status == 1
    assert "take another --workdir" in said


def test_a_field_that_reaches_no_model_is_a_fault(made, cache, tmp_path):
    folder, given, *_ = made
    path = write(tmp_path, cache, more=SAME)
    status, said = ablate(path, *given[1:])
    assert status == 1
    assert "fault: rates/same: trained exactly as fast" in " ".join(said.split())


def test_a_run_that_fails_leaves_the_others(made, cache, tmp_path):
    folder, given, *_ = made
    path = write(tmp_path, cache, more=FAILS)
    status, said = ablate(path, *given[1:])
    assert status == 1
    assert "failed: rates/fails/seed_0: " in said
    table = json.loads((folder / "work" / "rates" / "table.json").read_text())
    assert {line["row"] for line in table["results"]} == {"slow", "fast", "oracle"}
    assert next(row for row in table["rows"] if row["name"] == "fails")["unfinished"] == 2


def test_ranks_that_cannot_be_read_are_named_with_a_remedy(made):
    folder, given, *_ = made
    ranks = folder / "work" / "rates" / "slow" / "seed_0" / "ranks.parquet"
    whole = ranks.read_bytes()
    ranks.write_bytes(whole[:100])
    status, said = ablate(*given)
    ranks.write_bytes(whole)
    assert status == 1
    said = "".join(said.split())
    assert f"{ranks}cannotberead" in said
    assert f"removethefolder{ranks.parent},andthesamecommand" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone", "--workdir=x"), "gone is no config file"),
        (("losses",), "--workdir is missing"),
        (("losses", "--all", "--workdir=x"), "not both"),
        (("losses", "--input=wells=gone.parquet", "--workdir=x"), "there is no gone.parquet"),
        (("losses", f"--input=wlls={__file__}", "--workdir=x"), "no row takes it; there are wells"),
        (("losses", "--tier=decide", "--workdir=x"), "--set data.simulated.molecules=FILE"),
        # A row's own value would take the place of each of these without a word.
        (("losses", "--set=seed=5", "--workdir=x"), "losses sets that field itself"),
        (("losses", "--set=loss.name=clip", "--workdir=x"), "losses sets that field itself"),
        (("activity_cutoff", "--set=data.psi=.3", "--workdir=x"), "sets that field itself"),
        (("controls", "--set=model=3", "--workdir=x"), "a section and no field; it has model."),
        (("losses", "--tier=smoke", "--report=x.md", "--workdir=x"), "learns nothing to judge by"),
        (("losses", "--report=x.html", "--workdir=x"), "name a file that ends in .md"),
    ],
)
def test_what_is_asked_wrongly_is_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = ablate(*arguments)
    assert status == 1
    assert message in " ".join(said.split())
    assert not [*tmp_path.iterdir()]


def test_without_a_name_it_lists_them_and_a_dry_run_writes_nothing(tmp_path):
    status, said = ablate()
    assert status == 0
    assert "losses: Losses, cumulative concentrations (T2, T10, T11), 8 rows" in said
    status, said = ablate("losses", "--dry-run", f"--workdir={tmp_path / 'x'}")
    assert status == 0
    assert "24 runs, 0 of them finished. For the others" in said
    assert not [*tmp_path.iterdir()]
