"""A trained encoder, from a converted OpenPhenom or from a run of this project.

encoder = load_encoder(pathlib.Path("runs/mae"))
embed = jax.jit(functools.partial(embed_images, encoder.config))
z = embed(encoder.params, images)              # 0 to 255, [n, c, h, w] → [n, width]
"""

import pathlib
from typing import Any, NamedTuple

import jax

from molphenix_jax.models.vit import EncoderConfig
from molphenix_jax.models.vit.folder import CONFIG_FILE, EncoderFileError, load_folder


class LoadedEncoder(NamedTuple):
    """What `embed_images` takes: sizes and parameters; and where they come from."""

    config: EncoderConfig
    params: Any
    source: str


def load_encoder(path: pathlib.Path) -> LoadedEncoder:
    """Reads the encoder in a folder of `molphenix convert-openphenom` or of a MAE run.

    Args:
        path: A folder with `mae.json`, or the workdir (with folds, one `fold_k` in it) of a run of
            `configs/mae.py`, whose `encoder/` was written when it finished.

    Raises:
        EncoderFileError: There is no encoder, or it cannot be read.
    """
    for folder in (path, path / "encoder"):
        if (folder / CONFIG_FILE).exists():
            config, params, source = load_folder(folder)
            if "encoder" not in params.get("params", {}):
                raise EncoderFileError(f"{folder}: its parameters hold no encoder; make it again")
            encoder = jax.tree.map(jax.numpy.asarray, params["params"]["encoder"])
            return LoadedEncoder(config.encoder, {"params": encoder}, source or str(folder))
    folds = sorted(folder.parent.name for folder in path.glob("fold_*/encoder"))
    hint = f"; it has folds, take one: {', '.join(folds)}" if folds else ""
    raise EncoderFileError(
        f"no {CONFIG_FILE} in {path} or {path / 'encoder'}{hint}. Give a folder that "
        "`molphenix convert-openphenom` wrote, or the --workdir of a finished run of configs/mae.py"
    )
