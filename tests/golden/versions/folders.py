"""The golden folders of earlier versions, unpacked, and what counts as the same result."""

import json
import pathlib
import tarfile

import pytest

from molphenix_jax.evaluation.protocol import FURTHER_GALLERIES

HERE = pathlib.Path(__file__).parent
ARCHIVES = tuple(sorted(path.name.removesuffix(".tar.gz") for path in HERE.glob("*.tar.gz")))


def unpack(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive; paths in it are relative to the folder that is given back."""
    with tarfile.open(HERE / f"{name}.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return folder


def record(folder: pathlib.Path) -> dict:
    """The `evaluation.json` of a run or of an evaluation of it."""
    return json.loads((folder / "evaluation.json").read_text())


def assert_same_rows(new: dict, old: dict) -> None:
    """The rows of an earlier evaluation of a model, in their order, are among those of today.

    On the CPU and the JAX of then they are equal. Another machine may round otherwise, and then a
    query near a tie may pass its neighbour: one query in a recall, one place in a rank. Today's
    further rows are of galleries that were added since.
    """
    known, rows = {_asked(b) for b in old["results"]}, new["results"]
    today = [a for a in rows if _asked(a) in known]
    assert {a["gallery"] for a in rows if _asked(a) not in known} <= set(FURTHER_GALLERIES)
    assert len(today) == len(old["results"]) > 10
    for a, b in zip(today, old["results"], strict=True):
        assert a.keys() >= b.keys()
        rounded = {"top_1pct": 1 / b["n_queries"], "top_5pct": 1 / b["n_queries"]}
        rounded["median_rank_pct"] = 100 / b["n_gallery"]
        for name, value in b.items():
            if name in rounded:
                assert a[name] == pytest.approx(value, abs=1.01 * rounded[name]), (name, b)
            elif name.endswith("_ci"):
                assert a[name] == pytest.approx(value, abs=0.1), (name, b)
            else:
                assert a[name] == value, (name, b)


def _asked(row: dict) -> tuple:
    return tuple(row[k] for k in ("split", "subset", "psi", "gallery", "direction", "model"))


def assert_same_metrics(new: list[dict], old: list[dict]) -> None:
    """Lines of `metrics.jsonl`: losses as close as another machine's rounding leaves them."""
    assert [(line["kind"], line["step"]) for line in new] == [
        (line["kind"], line["step"]) for line in old
    ]
    for a, b in zip(new, old, strict=True):
        if b["kind"] == "train":
            assert a.keys() >= b.keys()  # later versions log more
            numbers = [{k: line[k] for k in b if k != "kind"} for line in (a, b)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-5)
