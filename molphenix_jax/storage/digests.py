"""SHA-256 of files, texts and values: what a cache is named by and a screen is checked against."""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


def digest(parts: Iterable[str | bytes]) -> str:
    """Of the parts one after the other, text as UTF-8; where they meet makes no difference."""
    content = hashlib.sha256()
    for part in parts:
        content.update(part.encode() if isinstance(part, str) else part)
    return content.hexdigest()


def digest_texts(texts: Iterable[str]) -> str:
    """Of texts, each with its length, so that "ab", "c" differ from "a", "bc"."""
    encoded = (text.encode() for text in texts)
    return digest(part for text in encoded for part in (len(text).to_bytes(8, "little"), text))


def digest_json(value: Any) -> str:
    """Of a value of JSON types; the order of keys makes no difference."""
    return digest([json.dumps(value, sort_keys=True)])


def signed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON fields with a digest of them, for `is_intact`."""
    return {**fields, "digest": digest_json(fields)}


def is_intact(fields: Mapping[str, Any]) -> bool:
    """Whether JSON fields are what `signed` gave; those that have no digest are taken as they are.

    How the JSON is laid out makes no difference.
    """
    others = {name: value for name, value in fields.items() if name != "digest"}
    return fields.get("digest", digest_json(others)) == digest_json(others)


def digest_file(path: pathlib.Path) -> str:
    """Of the bytes of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
