"""A trained model in use: molecules and profiles into one space, libraries to search, hits."""

from molphenix_jax.retrieval.hits import Hits
from molphenix_jax.retrieval.index import Found, Index, LibraryError, open_index
from molphenix_jax.retrieval.model import Model, load
from molphenix_jax.retrieval.ranking import rank

__all__ = ["Found", "Hits", "Index", "LibraryError", "Model", "load", "open_index", "rank"]
