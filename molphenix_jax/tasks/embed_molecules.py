"""Fingerprints of a trained molecule encoder, as a file that alignment reads as a feature block."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax.errors import InputError
from molphenix_jax.models.mpnn import layer_names
from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.files import read_molecules
from molphenix_jax.molecules.graphs import featurise_graphs, graphs_version
from molphenix_jax.runtime.progress import say
from molphenix_jax.storage import new_file, write_csv
from molphenix_jax.tasks.molecule_encoder import load_encoder
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder


class EmbedError(InputError):
    """A molecules file or a request that cannot be used."""


def embed_file(
    path: pathlib.Path,
    *,
    encoder: pathlib.Path,
    out: pathlib.Path,
    layers: Sequence[str],
    smiles_column: str = "",
    checkpoint: int | None = None,
    batch_size: int = 256,
) -> tuple[int, int, pathlib.Path | None]:
    """Embeds the distinct molecules of a file, in their standard form.

    Args:
        path: CSV or Parquet with a column of SMILES, .smi or .sdf (see `molecules.files`).
        encoder: Folder of a run (see `load_encoder`).
        out: Parquet file to write: inchikey, smiles and the list column embedding.
        layers: Which layers, see `layer_names`; several are joined.
        smiles_column: Of a table; empty finds it.
        checkpoint: Step; None takes the newest.
        batch_size: Molecules embedded at once.

    Returns:
        Number of molecules, width of an embedding, and where the rejected rows are, if any.

    Raises:
        WellsError: The file cannot be read, or has no SMILES.
        EmbedError: It has no usable molecule, or a layer is unknown.
        PretrainedError: The encoder cannot be used.
    """
    if out.suffix != ".parquet":
        raise EmbedError(f"--out={out}: embeddings are written as .parquet")
    loaded = load_encoder(encoder, checkpoint=checkpoint)
    known = layer_names(loaded.config)
    unknown = [name for name in layers if name not in known]
    if unknown or not layers:
        raise EmbedError(f"--layers={','.join(layers)!r}: this encoder has {', '.join(known)}")
    file, read = read_molecules(path, smiles_column=smiles_column)
    for note in file.notes:
        say(f"- {note}")
    table = standardise(read.smiles).assign(row=read.row, given=read.smiles)
    table["error"] = read.why(table["error"].tolist())
    usable = pd.DataFrame(table[table["error"].isna()]).drop_duplicates(subset=["inchikey"])
    graphs, without = featurise_graphs(
        usable["smiles"].tolist(),
        max_atoms=loaded.max_atoms,
        convention=loaded.config.network,
    )
    rejected = table.loc[table["error"].notna(), ["row", "given", "error"]]
    too_large = usable.iloc[without["row"].to_numpy(int)]
    rejected = pd.concat(
        [rejected, too_large[["row", "given"]].assign(error=without["reason"].to_numpy())]
    )
    kept = np.array([graph is not None for graph in graphs], bool)
    usable = usable.iloc[np.flatnonzero(kept)]
    present = [graph for graph in graphs if graph is not None]
    if not present:
        first = rejected["error"].iloc[0] if len(rejected) else "it has no rows"
        raise EmbedError(f"{path}: no molecule can be embedded; the first: {first}")
    embedder = GraphEmbedder(loaded.config, present, batch_size=batch_size)
    values = embedder(jax.tree.map(lambda x: x[None], loaded.params), layers)[0]
    about = {"layers": ",".join(layers), "encoder": str(encoder)}
    _write(out, usable, values, {**about, "featuriser": graphs_version(loaded.config.network)})
    rejected_path = None
    if len(rejected):
        rejected_path = out.with_suffix(".rejected.csv")
        rejected = rejected.rename(columns={"given": "value", "error": "reason"})
        rejected.insert(1, "field", file.field)
        write_csv(rejected_path, rejected.sort_values("row"))
    return len(values), values.shape[1], rejected_path


def _write(
    out: pathlib.Path, molecules: pd.DataFrame, values: np.ndarray, about: dict[str, str]
) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    table = pa.table(
        {
            "inchikey": molecules["inchikey"].tolist(),
            "smiles": molecules["smiles"].tolist(),
            "embedding": column,
        }
    ).replace_schema_metadata(about)
    with new_file(out) as private:
        pq.write_table(table, private)
