"""Files that several processes share: whole or not there, made once, locked, cleaned up after.

    files    a file or folder is filled under a private name and appears under its own when whole
    caches   made by one process, opened by all that asked for it meanwhile
    locks    one job at a time; a dead owner's lock is taken over
    owners   who a lock or a private name belongs to, and whether that process still lives
    digests  the hashes that caches are named by
    kept     what is slow to compute of a molecule, kept from one screen to the next

Every other room writes through this one. What lies in a private folder needs no such care.
"""

from molphenix_jax.storage.caches import cache_folder, cached, make_file_once, make_folder_once
from molphenix_jax.storage.digests import (
    digest,
    digest_file,
    digest_json,
    digest_texts,
    is_intact,
    signed,
)
from molphenix_jax.storage.files import (
    StorageError,
    new_file,
    new_folder,
    read_csv,
    read_npz,
    remove,
    remove_leftovers,
    scratch_folder,
    set_aside,
    temporary_folder,
    write_csv,
    write_json,
    write_npz,
    write_text,
    writing,
)
from molphenix_jax.storage.kept import kept_rows
from molphenix_jax.storage.locks import VOID_AFTER_S, claim, waiting_lock

__all__ = [
    "VOID_AFTER_S",
    "StorageError",
    "cache_folder",
    "cached",
    "claim",
    "digest",
    "digest_file",
    "digest_json",
    "digest_texts",
    "is_intact",
    "kept_rows",
    "make_file_once",
    "make_folder_once",
    "new_file",
    "new_folder",
    "read_csv",
    "read_npz",
    "remove",
    "remove_leftovers",
    "scratch_folder",
    "set_aside",
    "signed",
    "temporary_folder",
    "waiting_lock",
    "write_csv",
    "write_json",
    "write_npz",
    "write_text",
    "writing",
]
