"""Exact search beside the matrix product alone and FAISS's exact index; recall of approximate ones.

Vectors are drawn around centres, as molecules are by their chemistry; queries near some of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float32

from molphenix_jax.bench.measure import Row, interleaved_medians
from molphenix_jax.extras import MissingExtraError
from molphenix_jax.retrieval.index import devices, export, search
from molphenix_jax.runtime import mesh as meshes

TARGET = 1.1  # of FAISS's time
SAME = 1e-5  # scores closer than that may change places
USEARCH = "usearch"
_NOISE, _PER_CENTRE = 0.6, 100


@dataclasses.dataclass(frozen=True)
class SearchCase:
    """Sizes.

    Attributes:
        queries: How many.
        rows: Vectors of the library.
        width: Of a vector.
        top: How many are found for each query.
        approximate: What to measure the recall of: FAISS's factories, or usearch.
        repeats: Timed runs each.
    """

    queries: int = 1000
    rows: int = 1_000_000
    width: int = 512
    top: int = 100
    approximate: tuple[str, ...] = ()
    repeats: int = 3


def run(setting: SearchCase) -> list[Row]:
    """Measures; one row for each comparison."""
    library, queries = _vectors(setting)
    found: dict[str, search.Found] = {}

    def ours() -> None:
        found["ours"] = _search(library, queries, setting.top)

    runs = {"ours": ours, "product": lambda: _product(library, queries)}
    note, faiss = "", None
    try:
        faiss = export.load_faiss("the comparison with FAISS")
        flat = faiss.IndexFlatIP(setting.width)
        flat.add(library)
        runs["faiss"] = lambda: found.update(faiss=_of_faiss(flat, queries, setting.top))
    except MissingExtraError as error:
        note = str(error)
    seconds = interleaved_medians(runs, repeats=setting.repeats)
    case = f"{setting.queries:,} × {setting.rows:,} × {setting.width}, top {setting.top}"
    teraflop = 2 * setting.queries * setting.rows * setting.width / 1e12
    rate = f"{teraflop:.3g} TFLOP, {teraflop / seconds['product']:.3g} TFLOP/s measured"
    rows = [
        Row(case, "s", seconds["ours"], seconds["product"], "the product alone", note=rate),
        Row(case, "s", seconds["ours"], seconds.get("faiss"), "FAISS IndexFlatIP", TARGET, note),
    ]
    if faiss is not None:
        wrong = _differences(found["ours"], found["faiss"])
        apart = f"scores more than {SAME:g} apart"
        rows.append(Row("ids unlike FAISS's", apart, wrong, None, "FAISS IndexFlatIP"))
    if jax.default_backend() != "cpu":
        rows.append(_on_devices(setting, library, queries, found["ours"], seconds["ours"], case))
    for factory in setting.approximate:
        rows.append(_approximate(factory, library, queries, found["ours"], seconds["ours"]))
    return rows


def _vectors(setting: SearchCase) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    d = setting.width
    centres = random.normal(size=(-(-setting.rows // _PER_CENTRE), d)).astype(np.float32)
    library = np.empty((setting.rows, d), np.float32)
    for start in range(0, setting.rows, 65_536):
        some = library[start : start + 65_536]
        some[:] = centres[random.integers(len(centres), size=len(some))]
        some += _NOISE * random.standard_normal(some.shape, np.float32)
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    near = library[random.integers(setting.rows, size=setting.queries)]
    queries = near + _NOISE / np.sqrt(d) * random.standard_normal(near.shape, np.float32)
    return library, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def _blocks(library: np.ndarray, size: int) -> Iterator[search.Block]:
    for start in range(0, len(library), size):
        yield search.Block(start, library[start : start + size, None], np.zeros(0, np.int64))


def _search(library: np.ndarray, queries: np.ndarray, top: int) -> search.Found:
    parts = [
        search.search_blocks(
            _blocks(library, search.ROWS), queries[some], top=top, doses=1, best_dose=True
        )
        for some in search.query_blocks(len(queries))
    ]
    return search.Found(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _product(library: np.ndarray, queries: np.ndarray) -> None:
    """Every score, in the blocks of the search, and nothing done with them."""
    for some in search.query_blocks(len(queries)):
        for block in _blocks(library, search.ROWS):
            _ = queries[some] @ block.embeddings[:, 0].T


def _of_faiss(index, queries: np.ndarray, top: int) -> search.Found:
    scores, molecule = index.search(queries, top)
    return search.Found(scores, molecule, np.zeros_like(molecule))


def _differences(one: search.Found, other: search.Found) -> int:
    """Places where the ids differ though the scores there are apart from their neighbours'."""
    ours, theirs = one.scores.astype(np.float64), other.scores.astype(np.float64)
    gap = np.abs(np.diff(ours, axis=1))
    edge = np.full((len(ours), 1), np.inf)
    # Of the last one nobody knows the next.
    alone = np.minimum(
        np.concatenate([edge, gap], axis=1), np.concatenate([gap, np.zeros_like(edge)], axis=1)
    )
    unlike = (one.molecule != other.molecule) & (alone > SAME)
    return int((unlike | (np.abs(ours - theirs) > SAME)).sum())


def _on_devices(
    setting: SearchCase,
    library: np.ndarray,
    queries: np.ndarray,
    exact: search.Found,
    host: float,
    case: str,
) -> Row:
    mesh = meshes.make_mesh()
    size = devices.ROWS * mesh.devices.size
    found = []

    def here() -> None:
        parts = [
            devices.search_on_devices(
                _blocks(library, size),
                queries[some],
                top=setting.top,
                size=size,
                best_dose=True,
                mesh=mesh,
            )
            for some in search.query_blocks(len(queries))
        ]
        found[:] = [search.Found(*(np.concatenate(each) for each in zip(*parts, strict=True)))]

    seconds = interleaved_medians({"devices": here}, repeats=setting.repeats)["devices"]
    note = f"{_differences(exact, found[0])} ids unlike the host's; {meshes.describe(mesh)}"
    return Row(f"{case}, on devices", "s", seconds, host, "ours on the host", note=note)


def _approximate(
    factory: str,
    library: Float32[np.ndarray, "n d"],
    queries: np.ndarray,
    exact: search.Found,
    seconds: float,
) -> Row:
    top, found, name = exact.molecule.shape[1], [], f"FAISS {factory}"
    case = f"exact beside {name}"
    try:
        if factory == USEARCH:
            case, name = "exact beside usearch", USEARCH
            graph = export.make_usearch([library], library.shape[1])
            search_ = lambda: found.append(graph.search(queries, top).keys)  # noqa: E731
        else:
            step = max(len(library) // 200_000, 1)
            made = export.make_faiss([library], library[::step], factory)
            search_ = lambda: found.append(made.search(queries, top)[1])  # noqa: E731
    except MissingExtraError as error:
        return Row(case, "s", seconds, None, name, note=str(error))
    took = interleaved_medians({"approximate": search_}, repeats=1)["approximate"]
    pairs = zip(np.asarray(found[-1], np.int64), exact.molecule, strict=True)
    recall = np.mean([len(np.intersect1d(a, b)) / top for a, b in pairs])
    note = f"recall {recall:.3f} of the exact top {top}, as {name.split()[0]} sets it up"
    return Row(case, "s", seconds, took, name, note=note)
