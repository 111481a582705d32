"""A masked autoencoder in a model folder, and its encoder out of it.

encoder = load_image_encoder(pathlib.Path("runs/mae"))
embed = jax.jit(functools.partial(embed_images, encoder.config))
z = embed(encoder.params, images)              # 0 to 255, [n, c, h, w] → [n, width]
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file

from molphenix_jax.models.vit import EncoderConfig, MAEConfig
from molphenix_jax.trained.finding import find_model
from molphenix_jax.trained.folder import (
    ModelError,
    read_model,
    unreadable,
    write_model,
)

KIND = "image_encoder"
# What was written before there were model folders, in the folder itself or in `encoder/` of a run.
_OLD_HEADER, _OLD_WEIGHTS, _OLD_FOLDER = "mae.json", "params.safetensors", "encoder"


class LoadedEncoder(NamedTuple):
    """What `embed_images` takes: sizes and parameters; and where they come from."""

    config: EncoderConfig
    params: Any
    source: str


def write_image_encoder(
    folder: pathlib.Path,
    sizes: MAEConfig,
    params: Mapping[str, Any],
    *,
    source: str,
    config: Mapping[str, Any],
) -> None:
    """Writes a masked autoencoder, in place of the model that is there.

    Args:
        folder: Where to.
        sizes: Its sizes.
        params: As `MAE.init` gives them.
        source: Where the parameters come from, for who finds the folder later.
        config: Plain fields of the run's config; empty where there was none.

    Raises:
        StorageError: It cannot be written.
    """
    members = jax.tree.map(lambda leaf: np.asarray(leaf)[None], params["params"])
    about = {"source": source, "sizes": dataclasses.asdict(sizes)}
    write_model(folder, kind=KIND, about=about, arrays={"params": members}, config=config)


def read_image_encoder(path: pathlib.Path) -> tuple[MAEConfig, dict[str, Any], str]:
    """Sizes, parameters as `MAE.init` gives them, and their source.

    Args:
        path: A model folder (of `molphenix pretrained openphenom`, for instance), or the workdir
            (with folds, one `fold_k` in it) of a finished run of `configs/mae.py`.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    for folder in (path, path / _OLD_FOLDER):
        if (folder / _OLD_HEADER).exists():
            return _read_old(folder)
    found = read_model(find_model(path), kind=KIND)
    try:
        params = {"params": jax.tree.map(lambda leaf: leaf[0], found.arrays["params"])}
        return _sizes(found.about["sizes"]), params, str(found.about["source"])
    except (LookupError, TypeError) as error:
        raise unreadable(path, error) from error


def load_image_encoder(path: pathlib.Path) -> LoadedEncoder:
    """The encoder of a masked autoencoder; `path` as of `read_image_encoder`.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    sizes, params, source = read_image_encoder(path)
    if "encoder" not in params["params"]:
        raise ModelError(f"{path}: its parameters hold no encoder; make it again")
    encoder = jax.tree.map(jax.numpy.asarray, params["params"]["encoder"])
    return LoadedEncoder(sizes.encoder, {"params": encoder}, source or str(path))


def _read_old(folder: pathlib.Path) -> tuple[MAEConfig, dict[str, Any], str]:
    try:
        told = json.loads((folder / _OLD_HEADER).read_text())
        if told.get("format", 1) > 1:
            raise ModelError(
                f"{folder} is an encoder of format {told['format']}, this program reads up to 1: "
                "use the version that made it, or a newer one"
            )
        params = traverse_util.unflatten_dict(load_file(folder / _OLD_WEIGHTS), sep="/")
        return _sizes(told["sizes"]), params, str(told.get("source", ""))
    except ModelError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        what = f"{_OLD_HEADER} and {_OLD_WEIGHTS}"
        reason = f" ({error.filename}: {error.strerror})" if isinstance(error, OSError) else ""
        raise ModelError(
            f"{folder} does not hold a readable {what}{reason}; make it again, e.g. by `molphenix "
            "pretrained openphenom`"
        ) from error


def _sizes(told: Mapping[str, Any]) -> MAEConfig:
    return MAEConfig(**{**told, "encoder": EncoderConfig(**told["encoder"])})
