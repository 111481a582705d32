"""How people lay out their images: each module finds the fields of one layout."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

from molphenix_jax.images.fields import FieldTable, Take
from molphenix_jax.images.layouts.bray2017 import find_bray2017
from molphenix_jax.images.layouts.gallery import find_gallery
from molphenix_jax.images.layouts.rxrx3core import find_rxrx3core
from molphenix_jax.images.layouts.table import find_table

# Images, table that lists them, channels, which time point and plane → fields.
Find = Callable[[pathlib.Path, pathlib.Path | None, Sequence[str], Take], FieldTable]
LAYOUTS: Mapping[str, Find] = {
    "gallery": find_gallery,
    "rxrx3-core": find_rxrx3core,
    "bray2017": find_bray2017,
    "table": find_table,
}

__all__ = ["LAYOUTS"]
