"""A library of molecules embedded by one model at stated doses, and the exact search through it.

folder   parts on the disk: each whole and self-contained; which of them make a whole index
library  `Index`: molecules, doses, embeddings in memory maps; search, scores, share above
search   the best of a library for each query, in blocks: memory does not grow with either
"""

from molphenix_jax.retrieval.index.folder import LibraryError
from molphenix_jax.retrieval.index.library import Index, open_index
from molphenix_jax.retrieval.index.search import Found

__all__ = ["Found", "Index", "LibraryError", "open_index"]
