"""Models on the Hugging Face hub, through huggingface_hub, an extra."""

import importlib
import pathlib
import re
from typing import Any

from molphenix_jax import extras
from molphenix_jax.errors import first_line
from molphenix_jax.trained.folder import ModelError

PREFIX = "hf://"
# As it is typed, and as pathlib writes it.
_NAMED = re.compile(r"hf:/{1,2}(?P<repo>[^@]*)(?:@(?P<revision>.+))?")
_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
# What a model folder may hold; nothing else of a repository is fetched.
_FILES = ("*.json", "*.safetensors", "*.npz", "*.csv", "README.md")


def is_named(text: str) -> bool:
    """Whether a text means a model on the hub."""
    return _NAMED.fullmatch(text) is not None


def name_of(folder: pathlib.Path) -> str:
    """The name, with its revision, of a model folder in the hub's cache; "" of any other."""
    cached = _CACHED.fullmatch(folder.parent.parent.name)
    if cached is None or folder.parent.name != "snapshots":
        return ""
    return f"{PREFIX}{cached['owner']}/{cached['name']}@{folder.name}"


def fetch(named: str) -> pathlib.Path:
    """The folder, in the hub's cache, of a model that hf://OWNER/NAME names.

    Raises:
        ModelError: It is not there, not to be reached, or the name is none.
        MissingExtraError: huggingface_hub is not installed.
    """
    match = _NAMED.fullmatch(named)
    assert match is not None
    repo, revision = match["repo"].rstrip("/"), match["revision"]
    hub, errors = need_hub(repo)
    at = f"{PREFIX}{repo}" + (f"@{revision}" if revision else "")
    try:
        found = hub.snapshot_download(repo, revision=revision, allow_patterns=list(_FILES))
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{at} is not in the cache of this machine, and the hub was not reached: check the "
            "network and HF_HUB_OFFLINE, or give the folder of a copy"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"{at} is not on the hub, or not for you to see: check the name, or log in with "
            "`hf auth login`"
        ) from error
    except (errors.HTTPError, OSError, ValueError) as error:
        raise ModelError(f"{at} cannot be fetched: {first_line(error)}") from error
    return pathlib.Path(found)


def push(folder: pathlib.Path, repo: str) -> str:
    """Uploads a model folder, into a repository that is made where there is none.

    Args:
        folder: With its card.
        repo: OWNER/NAME.

    Returns:
        Its address.

    Raises:
        ModelError: The hub refuses, or is not to be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub, errors = need_hub(repo)
    try:
        api = hub.HfApi()
        address = api.create_repo(repo, exist_ok=True)
        api.upload_folder(folder_path=str(folder), repo_id=repo)
    except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is written, and cannot be uploaded to {repo}: {first_line(error)}. Log in "
            "with `hf auth login`, check the network, and upload the folder with "
            f"`hf upload {repo} {folder}`"
        ) from error
    return str(address)


def need_hub(repo: str) -> tuple[Any, Any]:
    """huggingface_hub and its errors, for a repository that has a usable name.

    Raises:
        ModelError: The name is none.
        MissingExtraError: It is not installed.
    """
    if not _REPO.fullmatch(repo):
        raise ModelError(f"{repo!r} is no name on the hub: give OWNER/NAME")
    hub = extras.load("huggingface_hub", extra="hub", what=f"{repo} on the Hugging Face hub")
    return hub, importlib.import_module("huggingface_hub.errors")
