"""A masked autoencoder in a folder: `mae.json` (sizes, source) and `params.safetensors`."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from molphenix_jax.errors import InputError
from molphenix_jax.models.vit.config import EncoderConfig, MAEConfig
from molphenix_jax.storage import new_file, write_json

CONFIG_FILE, PARAMS_FILE = "mae.json", "params.safetensors"
# Bump it when a folder of before cannot be read as those of today; folders without one have 1.
FOLDER_FORMAT = 1


class EncoderFileError(InputError):
    """Weights that cannot be used; the message names the file, the entry and the remedy."""


def save_folder(
    folder: pathlib.Path, config: MAEConfig, params: Mapping[str, Any], *, source: str
) -> None:
    """Writes sizes and parameters.

    Args:
        folder: Made where it is missing.
        config: Sizes.
        params: As `MAE.init` gives them.
        source: Where the parameters come from, for who finds the folder later.
    """
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    # First gone and last written: its presence says that the folder is whole.
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    with new_file(folder / PARAMS_FILE) as private:
        save_file({name: np.ascontiguousarray(value) for name, value in flat.items()}, private)
    told = {"format": FOLDER_FORMAT, "source": source, "sizes": dataclasses.asdict(config)}
    write_json(folder / CONFIG_FILE, told)


def load_folder(folder: pathlib.Path) -> tuple[MAEConfig, dict[str, Any], str]:
    """Sizes, parameters as `MAE.init` gives them, and their source.

    Raises:
        EncoderFileError: A file is missing or damaged, or of a newer format.
    """
    try:
        told = json.loads((folder / CONFIG_FILE).read_text())
        if told.get("format", 1) > FOLDER_FORMAT:
            raise EncoderFileError(
                f"{folder} is an encoder of format {told['format']}, this program reads up to "
                f"{FOLDER_FORMAT}: use the version that made it, or a newer one"
            )
        sizes = told["sizes"]
        config = MAEConfig(**{**sizes, "encoder": EncoderConfig(**sizes["encoder"])})
        flat = load_file(folder / PARAMS_FILE)
    except EncoderFileError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        what = f"{CONFIG_FILE} and {PARAMS_FILE}"
        reason = f" ({error.filename}: {error.strerror})" if isinstance(error, OSError) else ""
        raise EncoderFileError(
            f"{folder} does not hold a readable {what}{reason}; make it again, e.g. by `molphenix "
            "convert-openphenom`"
        ) from error
    return config, traverse_util.unflatten_dict(flat, sep="/"), str(told.get("source", ""))
