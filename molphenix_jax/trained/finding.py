"""Where a model lies that somebody names: a folder, one of this package, one of the hub."""

import pathlib

from molphenix_jax.trained import hub
from molphenix_jax.trained.folder import (
    MODEL_FILE,
    MODEL_FOLDER,
    SCREENS_FOLDER,
    WEIGHTS_FILE,
    ModelError,
)

SHIPPED = pathlib.Path(__file__).parent / "shipped"


def shipped() -> tuple[str, ...]:
    """Names of the models that come with this package."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{MODEL_FILE}")))


def name_of(folder: pathlib.Path) -> str:
    """What finds a model folder again, on this machine or, where it can, on another.

    Args:
        folder: From `find_model`.
    """
    if folder.parent == SHIPPED:
        return folder.name
    return hub.name_of(folder) or str(folder.absolute())


def find_model(
    path: str | pathlib.Path, *, fold: int | None = None, screen: str | None = None
) -> pathlib.Path:
    """The model folder that somebody means: a path's own, that of a run, or one with a name.

    Args:
        path: A model folder, the --workdir of a run, a name among `shipped`, or hf://OWNER/NAME
            (@REVISION behind it takes another one than the newest).
        fold: Which fold's, where the run has several.
        screen: Which screen's, where the run has several.

    Raises:
        ModelError: There is none, or it is not told which.
        MissingExtraError: It is on the hub, and huggingface_hub is not installed.
    """
    named, path = str(path), _place(path)
    if not path.is_dir():
        raise ModelError(
            f"{named} is no folder: give the --workdir of a run, a model folder that was exported, "
            f"{hub.PREFIX}OWNER/NAME, or a model of this package ({', '.join(shipped())})"
        )
    if (path / MODEL_FILE).exists():
        for field, value in (("fold", fold), ("screen", screen)):
            if value is not None:
                raise ModelError(f"{path} is one model: leave {field}={value} out, or give the run")
        return path
    screens = sorted(each.parent.name for each in path.glob(f"{SCREENS_FOLDER}/*/config.json"))
    if screens and screen is None:
        raise ModelError(
            f"{path} has a model for each of its screens {', '.join(screens)}: name one with "
            f"screen={screens[0]!r}, or give {path / SCREENS_FOLDER / screens[0]}"
        )
    if screen is not None:
        if screen not in screens:
            there = f"there are {', '.join(screens)}" if screens else "the run has one screen"
            raise ModelError(f"{path} has no screen {screen}: {there}")
        return find_model(path / SCREENS_FOLDER / screen, fold=fold)
    folds = sorted(
        int(each.parent.parent.name.removeprefix("fold_"))
        for each in path.glob(f"fold_*/{MODEL_FOLDER}/{MODEL_FILE}")
    )
    if folds and fold is None:
        raise ModelError(
            f"{path} has a model for each of its folds {', '.join(map(str, folds))}: name one with "
            f"fold={folds[0]}, or give {path / f'fold_{folds[0]}'}. Each has held back other "
            "molecules; one model of all molecules: molphenix refit"
        )
    if fold is not None and fold not in folds:
        there = f"there are {', '.join(map(str, folds))}" if folds else "the run has none"
        raise ModelError(f"{path} has no fold {fold} with a model: {there}")
    found = path / MODEL_FOLDER if fold is None else path / f"fold_{fold}" / MODEL_FOLDER
    if (found / MODEL_FILE).exists():
        return found
    if (path / WEIGHTS_FILE).exists():
        raise ModelError(
            f"{path} is a model folder without its {MODEL_FILE}: copy it again from its source"
        )
    if (path / "evaluation.json").exists():
        raise ModelError(
            f"{path} is finished and has no {MODEL_FOLDER}/, for an earlier version trained it: "
            f"molphenix export {path} --out=DIR makes one"
        )
    if (path / "config.json").exists():
        raise ModelError(
            f"{path} has no {MODEL_FOLDER}/ yet: it is written when the training ends. The same "
            "command continues it"
        )
    raise ModelError(f"{path} is neither a run nor a model folder: it has no {MODEL_FILE}")


def _place(named: str | pathlib.Path) -> pathlib.Path:
    """The folder that a name stands for; one that is there goes before a model of the package."""
    path = pathlib.Path(named)
    if hub.is_named(str(named)):
        return hub.fetch(str(named))
    return SHIPPED / path if not path.exists() and str(path) in shipped() else path
