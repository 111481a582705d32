"""The versions that a prepared screen depends on besides its files and parameters.

This is the one place where they come together, and every prepared screen and every run stores them
in its provenance. Whoever changes a number that the same input gives bumps the version of what
changed, where that stands:

    featuriser   molecules: standard forms, fingerprints, descriptors (`FEATURISER_VERSION`)
    correction   phenomics: outliers, batch correction, p-values (`CORRECTION_VERSION`)
    reading      data: files to wells to perturbations, so columns, units, controls (below)

Nothing else is to be done. A prepared folder is read as it is, under whatever versions. What would
have to be computed again (the wells file of an old run whose prepared screen is gone from the
cache, a second screen that has to match an old one) is not computed under other versions: it stops
and says which command makes it anew.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from molphenix_jax.molecules import FEATURISER_VERSION
from molphenix_jax.phenomics import CORRECTION_VERSION
from molphenix_jax.screens.screen import ScreenError

# Raised whenever the same files give other wells, doses or features than before.
# 2: doses by the words of a name, within 1% one. 3: conditions; controls by role, name, structure;
# outlying controls and absurd values set aside. 4: features of all objects, no places.
# 5: names normalised, joins by meaning, rows of one well averaged over gaps.
# 6: wells with a second compound are combinations; text with numbers; averaged counts of cells.
# 7: names that join those of other wells are combinations.
# 8: words for controls in the SMILES column; wells called DMSO that hold a drug; durations; files
# named together are told apart by what they hold.
# 9: parts of wells that do not say of which are no wells; a joined table fills gaps of a column
# that both have; batches of one broad_id are one key.
# 10: -999 and its like, far beyond a feature's other numbers, are gaps; features that vary in
# digits that float32 does not keep are dropped; wells named with their field (A01_s1) are one; rows
# of means and empty ones are no wells; 1.000 beside decimal commas and ?M stop.
READING_VERSION = 10


class Trained(NamedTuple):
    """The screen that a run was trained on, as the run remembers it.

    Attributes:
        provenance: Contents of its `screen.json`.
        anew: The command that trains it again, for errors.
    """

    provenance: Mapping[str, Any]
    anew: str


def current_versions() -> dict[str, Any]:
    """The versions under which this program prepares screens."""
    return {
        "featuriser": FEATURISER_VERSION,
        "correction": CORRECTION_VERSION,
        "reading": READING_VERSION,
    }


def versions_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The versions under which a screen was prepared; those that it does not name were 1."""
    return {name: provenance.get(name, 1) for name in current_versions()}


def other_versions(provenance: Mapping[str, Any]) -> list[str]:
    """What differs between a screen's versions and today's, in words; empty where nothing does."""
    now = current_versions()
    return [
        f"{name} {was} (today {now[name]})"
        for name, was in versions_of(provenance).items()
        if was != now[name]
    ]


def other_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the files' digests and the parameters that differ between two provenances.

    What the older one lacks had one meaning in its time, so only what both name is compared; where
    a file lies is no difference.
    """
    found = [name for name in ("source_sha256", "layout", "truth_sha256") if old[name] != new[name]]
    found += [
        f"molecules.embeddings.{name}"
        for name in sorted({*old["embeddings_sha256"], *new["embeddings_sha256"]})
        if old["embeddings_sha256"].get(name) != new["embeddings_sha256"].get(name)
    ]
    parameters = old["parameters"].keys() & new["parameters"].keys() - {"embeddings"}
    found += sorted(p for p in parameters if old["parameters"][p] != new["parameters"][p])
    if (old["reference"] is None) != (new["reference"] is None):
        found.append("reference")
    elif old["reference"] is not None:
        found += [f"reference.{name}" for name in other_inputs(old["reference"], new["reference"])]
    return found


def need_current(provenance: Mapping[str, Any], *, what: str, remedy: str) -> None:
    """Stops where a screen of other versions would have to be computed again, or matched.

    Args:
        provenance: Of the screen.
        what: What it is, for the error.
        remedy: What to do, for the error.

    Raises:
        ScreenError: Names the versions that differ.
    """
    if others := other_versions(provenance):
        raise ScreenError(
            f"{what} was prepared by another version of the program: {', '.join(others)}; the "
            f"numbers would not be the same. {remedy}"
        )


def need_same(trained: Trained, provenance: Mapping[str, Any], *, what: str) -> None:
    """Stops where a prepared folder is not the one that a run was trained on.

    Raises:
        ScreenError: Names what differs.
    """
    was, now = versions_of(trained.provenance), versions_of(provenance)
    differing = other_inputs(trained.provenance, provenance) + [n for n in was if was[n] != now[n]]
    if differing:
        raise ScreenError(
            f"{what} was prepared anew since this run was trained on it ({', '.join(differing)} "
            f"differ); put the old folder back, or train anew: {trained.anew}"
        )
