"""Layouts of public screens, as far as column names alone do not tell (docs/method.md §7)."""

import dataclasses
import re
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from molphenix_jax.parts import Parts, define, of_type, register
from molphenix_jax.storage import digest_texts
from molphenix_jax.tables.columns import as_text, normal

_OF_SAMPLE_KEY = ("plate", "well", "site")
_PLATE = re.compile(r"plate", re.IGNORECASE)
# A dose this far from one of the grid's is that one: RxRx3-core has 0.002 for 0.0025 µM.
_SNAP = 0.25


@dataclasses.dataclass(frozen=True)
class Layout:
    """What distinguishes a layout from any wells table.

    Attributes:
        what: one line for the user.
        columns: our name of a column to the files', where no alias tells; it need not be there.
        embeddings_last: the last file holds the embeddings of the wells in the others.
        doses_um: the grid that all concentrations lie on; () takes them as they are.
        default_um: concentration of treated wells where no column tells, in µM.
        keys_name_plates: keys say "Plate1" in one file and "1" in the other.
        sample_key: the key is PLATE-WELL-SITE.
    """

    what: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    embeddings_last: bool = False
    doses_um: tuple[float, ...] = ()
    default_um: float = 10.0  # the customary dose of a one-dose screen
    keys_name_plates: bool = False
    sample_key: bool = False

    def named(self, names: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        """Our name of a column to the files': those that are there, and what the user gives."""
        own = {ours: theirs for ours, theirs in self.columns.items() if theirs in names}
        return {**own, **given}

    def key(self, text: np.ndarray) -> np.ndarray:
        """Keys as they are compared."""
        if not self.keys_name_plates:
            return text
        plain = {key: _PLATE.sub("", key).replace("/", "_") for key in set(text)}
        return np.array([plain[key] for key in text], object)

    def on_grid(
        self, concentration_um: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """Concentrations moved to the nearest of the grid, and which are too far from any."""
        if not self.doses_um:
            return concentration_um, np.zeros(len(concentration_um), bool)
        grid = np.array(self.doses_um)
        usable = np.isfinite(concentration_um) & (concentration_um > 0)
        given = np.where(usable, concentration_um, grid[0])
        nearest = grid[np.abs(np.log(given[:, None] / grid)).argmin(axis=1)]
        off = usable & (np.abs(given / nearest - 1) > _SNAP)
        return np.where(usable & ~off, nearest, concentration_um), off

    def with_derived(self, names: list[str]) -> list[str]:
        """Column names, with those that `derived` will add."""
        known = {normal(name) for name in names}
        if not self.sample_key or "samplekey" not in known:
            return names
        return [*names, *(field for field in _OF_SAMPLE_KEY if field not in known)]

    def derived(self, table: pa.Table) -> pa.Table:
        """The table with plate, well and site from its sample key, where it lacks them."""
        names = {normal(name): name for name in table.column_names}
        if not self.sample_key or "samplekey" not in names:
            return table
        parts = [key.split("-") for key in as_text(table.column(names["samplekey"]))]
        for i, field in enumerate(_OF_SAMPLE_KEY):
            if field not in names:
                values = [part[i] if len(part) == 3 else None for part in parts]
                column = pa.array(values, pa.string()).dictionary_encode()
                table = table.append_column(field, column)
        return table


@dataclasses.dataclass(frozen=True)
class PerSite(Layout):
    """A layout of one file per site, in long form, which `sites.pool_sites` pools to wells."""


LAYOUTS: Parts[Layout] = define("wells_layout", of_type(Layout), reserved=("simulated",))
register("wells_layout", "wells", Layout("any wells table: columns are found by name"))
register(
    "wells_layout",
    "rxrx3_core",
    Layout(
        "metadata_rxrx3_core.csv and OpenPhenom_rxrx3_core_embeddings.parquet",
        embeddings_last=True,
        doses_um=(0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0),
        keys_name_plates=True,
    ),
)
register(
    "wells_layout",
    "bray2017",
    Layout(
        "CLOOME's index files of Bray2017 and a file of embeddings keyed by SAMPLE_KEY",
        embeddings_last=True,
        default_um=5.0,  # the screen's one dose is about 5 µM, and no column says so
        sample_key=True,
    ),
)
register(
    "wells_layout",
    "pycytominer",
    Layout("pycytominer profiles as in LINCS and JUMP, with --join tables"),
)
register(
    "wells_layout",
    "jump_lite",
    PerSite("JUMP-Lite's features, a Parquet file per site in long form, with --join tables"),
)
_BUILT_IN = tuple(LAYOUTS)


def stored_layout(name: str) -> str:
    """The name of a layout as a screen keeps it; of one from outside with a digest of its fields.

    The built-in ones go with `READING_VERSION`.
    """
    if name in _BUILT_IN:
        return name
    layout = LAYOUTS[name]
    fields = {field.name: getattr(layout, field.name) for field in dataclasses.fields(layout)}
    return f"{name} {digest_texts([repr(fields)])[:12]}"
