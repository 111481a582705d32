"""A molecule encoder out of the model folder of any run that trained one."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from molphenix_jax.models.mpnn import MPNNConfig
from molphenix_jax.molecules.graphs import graphs_version
from molphenix_jax.trained.finding import find_model
from molphenix_jax.trained.folder import (
    ModelError,
    read_model,
    unreadable,
    with_tuples,
    write_model,
)

KIND = "molecule_encoder"


class LoadedMoleculeEncoder(NamedTuple):
    """An encoder of molecular graphs, ready to use.

    Attributes:
        config: Its sizes.
        params: Parameters of one member, `{"params": …}`, as numpy arrays.
        max_atoms: The largest molecule that it was trained for.
    """

    config: MPNNConfig
    params: Any
    max_atoms: int


def write_property_model(
    folder: pathlib.Path,
    encoder: MPNNConfig,
    arrays: Mapping[str, Any],
    *,
    about: Mapping[str, Any],
    config: Mapping[str, Any],
    fill: Callable[[pathlib.Path], None] = lambda _: None,
) -> None:
    """Writes a model of property pretraining, in place of the one that is there.

    Args:
        folder: Where to.
        encoder: Sizes of its encoder.
        arrays: `params` [members, …], and what was fitted on the labels.
        about: `featuriser` and what else there is to tell.
        config: Plain fields of the run's config.
        fill: Writes further files into the (private) folder that it is given.

    Raises:
        StorageError: It cannot be written.
    """
    told = {"encoder": dataclasses.asdict(encoder), **about}
    write_model(folder, kind=KIND, about=told, arrays=arrays, config=config, fill=fill)


def load_molecule_encoder(path: pathlib.Path, *, member: int = 0) -> LoadedMoleculeEncoder:
    """The encoder in a model folder, or in that of a run (of one fold, if it has several).

    Args:
        path: Of a run of property pretraining, or of an alignment with a molecule encoder.
        member: Of an ensemble.

    Raises:
        ModelError: There is none, or graphs are not made today as they were for it.
    """
    found = read_model(find_model(path))
    try:
        sizes, made_by = found.about.get("encoder"), found.about.get("featuriser", {})
        if sizes is None or "encoder" not in found.arrays["params"]:
            raise ModelError(f"{path} holds a model without a molecule encoder ({found.kind})")
        encoder = MPNNConfig(**with_tuples(sizes))
        need_same_version(str(path), made_by["graphs"], graphs_version(encoder.network))
        params = jax.tree.map(lambda leaf: leaf[member], found.arrays["params"]["encoder"])
        return LoadedMoleculeEncoder(encoder, {"params": params}, int(made_by["max_atoms"]))
    except ModelError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error


def need_same_version(what: str, was: str, now: str) -> None:
    """Stops where a model would get other features today than it was trained on.

    Args:
        what: The model, for the error.
        was: Version of the featuriser then.
        now: Version of the same today.

    Raises:
        ModelError: They differ.
    """
    if was != now:
        raise ModelError(
            f"{what} was trained on molecules of featuriser {was}; this is {now}, whose features "
            "are not the same: install the versions that it names, or train anew"
        )
