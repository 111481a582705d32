"""The files of one screen, and which of them is what where nobody says so."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from molphenix_jax.tables.columns import ALIASES, is_list, is_number, normal
from molphenix_jax.tables.reading.files import TableFile, open_file
from molphenix_jax.wells.features.choice import why_no_feature


@dataclasses.dataclass(frozen=True)
class Sources:
    """The files of one screen.

    Attributes:
        tables: wells tables, or their metadata.
        embeddings: files that hold the embeddings of these wells; none if the tables do.
        join: tables to put beside the metadata, one after the other.
        layout: a key of `LAYOUTS`.
        doubt: what else the files might be, in a sentence; "" where nothing speaks for it.
    """

    tables: tuple[pathlib.Path, ...]
    embeddings: tuple[pathlib.Path, ...] = ()
    join: tuple[pathlib.Path, ...] = ()
    layout: str = "wells"
    doubt: str = ""

    @classmethod
    def of(
        cls, path: "str | os.PathLike[str] | Sources", columns: Mapping[str, str] | None = None
    ) -> "Sources":
        """One file, or several by commas, each taken for what it holds; the first is a wells table.

        A further file is a wells table too if it has SMILES, and no features or those of the
        first: such tables are put below each other. Otherwise it is put beside them by the columns
        that both have: as the embeddings if it has features, else as a table of compounds or wells.

        Args:
            path: the files.
            columns: our name -> the files', for a SMILES column that no alias tells.

        Raises:
            WellsError: one of several files cannot be read.
        """
        if isinstance(path, Sources):
            return path
        name = os.fspath(path)
        if "," not in name or pathlib.Path(name).exists():
            return cls((pathlib.Path(name),))
        given = tuple((columns or {}).values())
        paths = [pathlib.Path(part.strip()) for part in name.split(",") if part.strip()]
        files = [open_file(file, wanted=given) for file in paths]
        smiles = (columns or {}).get("smiles")
        first, *others = files
        tables, embeddings, join, doubt = [first.path], [], [], ""
        for file in others:
            like_the_first = _has_smiles(file, smiles) and _has_smiles(first, smiles)
            if _features(file) and not (
                like_the_first and _same(_features(file), _features(first))
            ):
                embeddings.append(file.path)
                if like_the_first and _features(first):
                    doubt = (
                        f"{file.path} has molecules and features of its own, and its features are "
                        f"put beside the wells of {first.path}; if these are two screens, give "
                        "each a name: wells=NAME=FILE+NAME=FILE"
                    )
            elif like_the_first:
                tables.append(file.path)
            else:
                join.append(file.path)
        if not (embeddings or _features(first)):
            # Lists of numbers as text, or nothing that helps: the reader of features says which.
            last = paths[-1]
            embeddings = [last]
            tables, join = ([file for file in of if file != last] for of in (tables, join))
        return cls(tuple(tables), tuple(embeddings), tuple(join), doubt=doubt)

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All of them."""
        return self.tables + self.embeddings + self.join

    def __str__(self):
        return ",".join(str(path) for path in self.tables + self.embeddings)


def _has_smiles(file: TableFile, name: str | None) -> bool:
    names: Sequence[str] = file.schema.names
    return name in names or any(normal(each) in ALIASES["smiles"] for each in names)


def _features(file: TableFile) -> set[str]:
    """The columns of numbers whose names say nothing else."""
    return set(file.profile) or {
        field.name
        for field in file.schema
        if is_list(field.type) or (is_number(field.type) and why_no_feature(field.name) is None)
    }


def _same(ours: set[str], theirs: set[str]) -> bool:
    """Whether two files have the features of one screen, but for a few that one of them lacks."""
    return 2 * len(ours & theirs) > len(ours | theirs)
