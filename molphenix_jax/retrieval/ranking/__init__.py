"""Profiles ranked against a library, and molecules against profiles.

queries      wells to corrected, averaged profiles, with what is known of each
combining    several profiles as one query
selecting    the list of each query: filters, scaffolds, doses
finding      all of it into `Hits`
null         control profiles, for p-values
domain       training molecules, for what a hit is near to
calibration  how likely a list holds the true molecule
resembling   the other direction: which profiles a molecule is like, and from which dose on
"""

from molphenix_jax.retrieval.ranking.combining import parse_terms, read_terms
from molphenix_jax.retrieval.ranking.finding import Asked, find_hits
from molphenix_jax.retrieval.ranking.notebook import model_of, rank, wanted_of
from molphenix_jax.retrieval.ranking.queries import Queries, Reading, read_queries
from molphenix_jax.retrieval.ranking.resembling import Resembling, resemble
from molphenix_jax.retrieval.ranking.selecting import Wanted

__all__ = [
    "Asked",
    "Queries",
    "Reading",
    "Resembling",
    "Wanted",
    "find_hits",
    "model_of",
    "parse_terms",
    "rank",
    "read_queries",
    "read_terms",
    "resemble",
    "wanted_of",
]
