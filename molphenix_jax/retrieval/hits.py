"""What a ranking finds: the hits of each query, which files and `hits.html` are made of."""

import dataclasses
import datetime
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import molphenix_jax
from molphenix_jax.molecules.files import write_sdf
from molphenix_jax.retrieval.model import Model
from molphenix_jax.storage import new_file, write_csv


class Column(NamedTuple):
    """A column of hits: its name on the page, and what it says."""

    title: str
    meaning: str


REQUIRED = ("query", "rank", "id", "smiles", "concentration_um", "cosine")
# In the order in which files have them. What a ranking does not know it leaves out.
COLUMNS = {
    "query": Column("query", "The profile that was looked up."),
    "rank": Column("rank", "1 is the most similar molecule of the library."),
    "id": Column("id", "Name of the molecule in the library."),
    "smiles": Column("SMILES", "The molecule in its standard form."),
    "inchikey": Column("InChIKey", "The molecule's key; two with one key are one molecule."),
    "scaffold": Column("scaffold", "Bemis-Murcko scaffold: rings and what links them."),
    "concentration_um": Column(
        "dose, µM", "The concentration at which the molecule is most similar."
    ),
    "cosine": Column(
        "cosine", "Similarity of profile and molecule in the space of the model, from -1 to 1."
    ),
    "percentile": Column(
        "percentile", "Share of the library that is less similar at its best dose, in %."
    ),
    "p_value": Column(
        "p", "Share of control profiles that are as similar to the molecule; small is good."
    ),
    "spread": Column("spread", "Standard deviation of the cosine over the model's members."),
    "nearest_smiles": Column(
        "nearest training SMILES",
        "The most alike of the molecules that the model learned from.",
    ),
    "nearest_id": Column("nearest training molecule", "Its name."),
    "nearest_tanimoto": Column(
        "Tanimoto", "Similarity of structures to the nearest training molecule, from 0 to 1."
    ),
    "in_domain": Column(
        "in domain", "Whether the molecule is near enough to the training for recall to hold."
    ),
    "trained_on": Column(
        "trained on", "The model has learned from this molecule: the hit is no discovery."
    ),
}
QUERY_REQUIRED = ("query",)
NOT_MEASURED = "not measured"  # how a chance begins that is none; the reason follows


@dataclasses.dataclass(frozen=True)
class Hits:
    """Hits of one or several queries.

    Attributes:
        table: A row for each (query, hit), each query's by rank: the columns of `COLUMNS`, as many
            as are known (`REQUIRED` always), `curve` with k cosines at `doses_um` (NaN where there
            is none), and any others, which are shown as properties of the molecule.
        queries: A row for each query, also of those without hits: `query` and, where known, `wells`
            and `plates` (numbers of them), `activity_p` (how likely its wells agree as much by
            chance), `abstained` (it looks inactive, so its list means little), `chance_in_list`
            (calibrated chance in [0, 1] that the true molecule is in the list), `trained_on` (its
            own molecule is one that the model learned from), `note` (a sentence).
        doses_um: k concentrations in µM of the similarity curves, ascending.
        features: Rows of `query`, `feature`, `value`: the query's strongest corrected features, in
            standard deviations of the controls, each query's strongest first.
        about: What made them, shown as pairs: model, index, size of the library, command, version,
            date.
    """

    table: pd.DataFrame
    queries: pd.DataFrame
    doses_um: tuple[float, ...] = ()
    features: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame({"query": [], "feature": [], "value": []})
    )
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for what, table, columns in (
            ("table", self.table, REQUIRED),
            ("queries", self.queries, QUERY_REQUIRED),
            ("features", self.features, ("query", "feature", "value")),
        ):
            if missing := [name for name in columns if name not in table.columns]:
                raise ValueError(f"{what} of hits lacks {', '.join(missing)}")
            if unknown := sorted(set(table["query"]) - set(self.queries["query"])):
                raise ValueError(f"{what} of hits: {unknown[0]!r} is none of the queries")
        if not self.queries["query"].is_unique:
            raise ValueError("queries of hits: each needs a name of its own")
        if "curve" in self.table:
            lengths = {len(curve) for curve in self.table["curve"]} - {len(self.doses_um)}
            if lengths:
                raise ValueError(f"curves have {lengths} cosines for {len(self.doses_um)} doses")

    def flat(self) -> pd.DataFrame:
        """The table as files have it: columns in order, a column for each dose of the curves."""
        known = [name for name in COLUMNS if name in self.table]
        others = [name for name in self.table if name not in (*known, "curve")]
        flat = pd.DataFrame(self.table[[*known, *others]]).reset_index(drop=True)
        if "curve" in self.table and self.doses_um:
            add_curves(flat, self.table["curve"].tolist(), self.doses_um)
        return flat

    def write(self, folder: str | pathlib.Path) -> list[pathlib.Path]:
        """Writes hits.csv, hits.parquet, hits.sdf and queries.csv into a folder.

        Raises:
            StorageError: One cannot be written.
        """
        folder = pathlib.Path(folder)
        paths = write_table(folder, "hits", self.flat(), structures=True)
        paths.append(folder / "queries.csv")
        write_csv(paths[-1], self.queries)
        return paths


def add_curves(
    table: pd.DataFrame, curves: Sequence[Sequence[float]], doses_um: Sequence[float]
) -> None:
    """Adds a column for each dose of the curves, in the order of the rows."""
    cosines = np.array(curves, float).reshape(len(table), -1)
    for k, dose in enumerate(doses_um):
        table[f"cosine_at_{dose:g}_um"] = cosines[:, k]


def write_table(
    folder: pathlib.Path, name: str, table: pd.DataFrame, *, structures: bool
) -> list[pathlib.Path]:
    """Writes a table as CSV, Parquet and, of molecules, SDF: `smiles` called by `id`.

    Raises:
        StorageError: One cannot be written.
    """
    kinds = ("csv", "parquet", "sdf") if structures else ("csv", "parquet")
    paths = [folder / f"{name}.{kind}" for kind in kinds]
    write_csv(paths[0], table)
    with new_file(paths[1]) as private:
        table.to_parquet(private, index=False)
    if structures:
        write_sdf(paths[2], table["smiles"].tolist(), table["id"].astype(str).tolist(), table)
    return paths


def made_by(model: Model, **facts: Any) -> dict[str, Any]:
    """What made a ranking, as its page tells it: the model, facts, command, version and date."""
    return {
        "model": f"{model.name} (weights {model.digest[:12]})",
        "trained on": model.about["screen"]["name"],
        **facts,
        "command": shlex.join(["molphenix", *sys.argv[1:]]),
        "version": molphenix_jax.__version__,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
    }
