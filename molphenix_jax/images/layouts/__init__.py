"""How people lay out their images: each module finds the fields of one layout."""

import pathlib
from collections.abc import Callable, Sequence

from molphenix_jax.images.fields import FieldTable, Take
from molphenix_jax.images.layouts.bray2017 import find_bray2017
from molphenix_jax.images.layouts.gallery import find_gallery
from molphenix_jax.images.layouts.rxrx3core import find_rxrx3core
from molphenix_jax.images.layouts.table import find_table
from molphenix_jax.parts import Parts, define, function_of, register

# From a folder or file of images, a table that lists them or None, the channels to take (none for
# all) and the time point and plane. "simulated" is the built-in image screen of image runs.
FindFields = Callable[[pathlib.Path, pathlib.Path | None, Sequence[str], Take], FieldTable]

LAYOUTS: Parts[FindFields] = define(
    "layout",
    function_of("images", "index", "channels", "take", gives="a FieldTable"),
    reserved=("simulated",),
)
register("layout", "gallery", find_gallery)
register("layout", "rxrx3-core", find_rxrx3core)
register("layout", "bray2017", find_bray2017)
register("layout", "table", find_table)

__all__ = [
    "LAYOUTS",
]
