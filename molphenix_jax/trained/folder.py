"""The model folder: all that the use of a trained model needs, and no screen.

    model.json            format, kind, sizes and names, versions, digests of the other files; last
    weights.safetensors   parameters, members first, and what was fitted on the training data
    config.json           every field of the run's config
    …                     what the kind adds; `alignment` says what it does

A run has it as `model/` (`fold_K/model/`), an export is one. It is whole or not there.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

import molphenix_jax
from molphenix_jax.errors import InputError
from molphenix_jax.storage import digest_file, is_intact, new_folder, signed, write_json

MODEL_FOLDER, MODEL_FILE = "model", "model.json"
SCREENS_FOLDER = "screens"  # of a run of several screens: a folder for each, with its model
WEIGHTS_FILE, CONFIG_FILE = "weights.safetensors", "config.json"
# Bump it when a folder of before cannot be read as those of today.
MODEL_FORMAT = 1


class ModelError(InputError):
    """A trained model that is not there, damaged, or not what is asked for; says the remedy."""


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds.

    Attributes:
        path: Where it lies.
        kind: alignment, molecule_encoder or image_encoder.
        about: What `model.json` tells of it beside format and digests.
        arrays: Nested as they were written: `params` [members, …] and what the kind adds.
        digest: Of the weights: two models are one where it is equal.
    """

    path: pathlib.Path
    kind: str
    about: Mapping[str, Any]
    arrays: Mapping[str, Any]
    digest: str


def write_model(
    folder: pathlib.Path,
    *,
    kind: str,
    about: Mapping[str, Any],
    arrays: Mapping[str, Any],
    config: Mapping[str, Any],
    fill: Callable[[pathlib.Path], None] = lambda _: None,
) -> None:
    """Writes a model folder, in place of the one that is there.

    Args:
        folder: Where to.
        kind: See `ModelFolder`.
        about: JSON types.
        arrays: Nested mappings of arrays.
        config: Plain fields of the run's config.
        fill: Writes what the kind adds into the (private) folder that it is given.

    Raises:
        StorageError: It cannot be written.
    """
    flat = traverse_util.flatten_dict(dict(arrays), sep="/")
    with new_folder(folder, replace=True) as private:
        tensors = {name: np.ascontiguousarray(value) for name, value in flat.items()}
        # Not by `save_file`, whose file nobody else may read.
        (private / WEIGHTS_FILE).write_bytes(save(tensors))
        write_json(private / CONFIG_FILE, config)
        fill(private)
        files = {path.name: digest_file(path) for path in sorted(private.iterdir())}
        head = {"format": MODEL_FORMAT, "kind": kind, "version": molphenix_jax.__version__}
        write_json(private / MODEL_FILE, signed({**head, **about, "files": files}))


def read_model(folder: pathlib.Path, *, kind: str = "") -> ModelFolder:
    """Reads a model folder, each file checked against its digest.

    Args:
        folder: See `trained.finding.find_model`.
        kind: What it has to be; empty takes any.

    Raises:
        ModelError: A file is missing, damaged, of a newer format or of another kind.
    """
    try:
        about = json.loads((folder / MODEL_FILE).read_text())
        if about["format"] > MODEL_FORMAT:
            raise ModelError(
                f"{folder} is a model of format {about['format']}, this program reads up to "
                f"{MODEL_FORMAT}: use the version that made it, or a newer one"
            )
        files, intact = dict(about["files"]), {MODEL_FILE: is_intact(about)}
        intact |= {name: digest_file(folder / name) == digest for name, digest in files.items()}
        if changed := [name for name, same in intact.items() if not same]:
            raise ModelError(
                f"the model in {folder} is damaged: {changed[0]} is not the file that was written. "
                "Copy it again from where it was made, or make it again"
            )
        about = {name: value for name, value in about.items() if name not in ("files", "digest")}
        flat = {name: _single(x) for name, x in load_file(folder / WEIGHTS_FILE).items()}
        arrays = traverse_util.unflatten_dict(flat, sep="/")
        found = ModelFolder(folder, str(about["kind"]), about, arrays, files[WEIGHTS_FILE])
    except ModelError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    if kind and found.kind != kind:
        raise ModelError(f"{folder} holds a model of kind {found.kind}, {kind} is needed")
    return found


def _single(x: np.ndarray) -> np.ndarray:
    """What is stored in half precision is computed with in single."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def unreadable(folder: pathlib.Path, error: Exception) -> ModelError:
    """What is said of a model folder that cannot be used, in words of this program."""
    reason = f" ({error.filename}: {error.strerror})" if isinstance(error, OSError) else ""
    return ModelError(
        f"the model in {folder} cannot be read{reason}: copy it again from where it was made, or "
        "make it again"
    )


def with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a dataclass as JSON gives them back, lists as the tuples that they were."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def trained_config(model: ModelFolder) -> dict[str, Any]:
    """Every field of the config that the model was trained with, as stored."""
    return json.loads((model.path / CONFIG_FILE).read_text())
