"""Who is ranked against whom: subsets, galleries and directions of one evaluated split.

docs/method.md §5, §13 and §14 rows 13 to 19. Every candidate is one perturbation: a (molecule,
concentration) under one condition, with the mean profile of its replicates. Query i belongs to
candidate i. Each split is ranked

- over *all* perturbations, and over the *active* ones (replicate p-value at or below ψ);
- active queries against the *active* gallery (the paper's reading) and the *full* one (the harder
  one), and likewise those that are *active, not toxic*, where some are and cells were counted;
- where a screen has several conditions (time, cell line), also against the candidates of the
  query's *own condition* alone, which whoever measured the profile knows; in the galleries above
  the same molecule at the same dose under another condition is a wrong answer;
- from profile to molecule (the paper's direction) and from molecule to profile;
- from profile to molecule alone, where there are several such groups, among the candidates of the
  *same dose*, among those of the *same source* (campaign, batch), and among *molecules*, each of
  which stands where the best of its doses does.

What cannot be ranked is listed in ``not_computed`` with the reason.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from molphenix_jax.evaluation import ranks
from molphenix_jax.evaluation.graded import Graded, Relevance, ndcg

Direction = Literal["profile_to_molecule", "molecule_to_profile"]
Subset = Literal["all", "active", "active_not_toxic"]
Gallery = Literal[
    "full",
    "active",
    "active_not_toxic",
    "own_condition",
    "same_dose",
    "same_source",
    "molecules",
]
Ties = Literal["against", "random"]


class Compared(NamedTuple):
    """How one model compares the perturbations of a split; a plain tuple does as well.

    Attributes:
        profiles: rows that stand for the profiles.
        molecules: rows that stand for the (molecule, concentration).
        metric: between them.
        ties: candidates of equal score count against the model, or are drawn at random (controls).
    """

    profiles: Float[np.ndarray, "m e"]
    molecules: Float[np.ndarray, "m e"]
    metric: ranks.Distance = "cosine"
    ties: Ties = "against"


QueriesAndGallery = (
    Compared | tuple[Float[np.ndarray, "m e"], Float[np.ndarray, "m e"], ranks.Distance]
)

CHANCE = "chance"
# Galleries that answer a doubt; tables have them below the others.
FURTHER_GALLERIES = ("same_dose", "same_source", "molecules")
HELDOUT = "heldout_concentration:"


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The perturbations of one evaluated split of one fold.

    Attributes:
        split: ``unseen_images``, ``unseen_molecules``, ``unseen_screen:<name>``,
            ``heldout_concentration:<µM>`` or ``validation``.
        molecule: id of each perturbation's molecule, the same in every fold; the confidence
            intervals resample molecules.
        concentration_um: concentration of each perturbation in µM.
        condition: name of each perturbation's condition.
        p_value: replicate-consistency p-value; NaN where undefined, which counts as inactive.
        profile: frozen, corrected profile of each perturbation, as the models are given it.
        source: where the wells of each perturbation were measured (campaigns, batches), any label;
            None where that is one or unknown.
        not_toxic: whether enough cells were left; False where unknown, None where nothing is known.
        relevance: what candidates are worth beside the true one; None where that cannot be told.
    """

    split: str
    molecule: Shaped[np.ndarray, "m"]
    concentration_um: Float[np.ndarray, "m"]
    condition: Shaped[np.ndarray, "m"]
    p_value: Float[np.ndarray, "m"]
    profile: Float[np.ndarray, "m d"]
    source: Shaped[np.ndarray, "m"] | None = None
    not_toxic: Bool[np.ndarray, "m"] | None = None
    relevance: Relevance | None = None

    def __post_init__(self):
        m = len(self.molecule)
        for name in ("molecule", "concentration_um", "condition", "p_value", "source", "not_toxic"):
            shape = np.shape(getattr(self, name))
            if shape != (m,) and getattr(self, name) is not None:
                raise ValueError(f"{self.split}: {name} must have shape ({m},), got {shape}")
        if np.ndim(self.profile) != 2 or len(self.profile) != m:
            raise ValueError(
                f"{self.split}: profile must be [{m}, d], got shape {np.shape(self.profile)}"
            )


@dataclasses.dataclass(frozen=True, order=True)
class Setting:
    """One way to rank: which queries, against which gallery, in which direction."""

    split: str
    subset: Subset
    psi: float | None
    gallery: Gallery
    direction: Direction


@dataclasses.dataclass(frozen=True)
class RankTable:
    """Ranks of the same queries under every model; one setting, one or several folds.

    Attributes:
        setting: what was ranked.
        molecule: molecule id of each query.
        concentration_um: concentration of each query in µM.
        condition: name of each query's condition.
        n_gallery: number of candidates that each query was ranked among.
        rank: pessimistic rank of each query's true candidate, by model.
    """

    setting: Setting
    molecule: Shaped[np.ndarray, "q"]
    concentration_um: Float[np.ndarray, "q"]
    condition: Shaped[np.ndarray, "q"]
    n_gallery: Int[np.ndarray, "q"]
    rank: Mapping[str, Int[np.ndarray, "q"]]


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Everything that was ranked, and what could not be.

    Attributes:
        tables: one table for each setting.
        not_computed: ``{"split", "subset", "psi", "reason"}`` of each setting without ranks.
        graded: graded relevance of each split where it can be told.
    """

    tables: tuple[RankTable, ...]
    not_computed: tuple[dict, ...]
    graded: tuple[Graded, ...] = ()


def evaluate(
    candidates: Candidates,
    embeddings: Mapping[str, QueriesAndGallery],
    *,
    psis: Sequence[float] = (0.01, 0.1),
    part: ranks.Part = ranks.WHOLE,
) -> Ranks:
    """Rank one split of one fold under every model.

    Args:
        candidates: the perturbations of the split.
        embeddings: for each model the rows of the profiles, the rows of the (molecule,
            concentration) candidates, both [m, e] and in the order of ``candidates``, and the
            metric between them.
        psis: p-value cut-offs of the active subset.
        part: whose queries are ranked; the ranks of all others are 0, see ``pooling.put_together``.

    Returns:
        Ranks for each subset, gallery and direction.

    Raises:
        ValueError: if a model has not one row for each candidate, holds non-finite values, or is
            named ``chance``, which is worked out and not ranked.
    """
    m = len(candidates.molecule)
    if CHANCE in embeddings:
        raise ValueError(
            f"{CHANCE!r} is worked out from the gallery size; name the model otherwise"
        )
    for model, (query, gallery, *_) in embeddings.items():
        if len(query) != m or len(gallery) != m:
            raise ValueError(
                f"{candidates.split}: {model} has {len(query)} profile rows and {len(gallery)} "
                f"candidate rows for {m} perturbations"
            )
    if m < 2:
        reason = f"{m} perturbation(s) in the split; ranking needs two"
        return Ranks((), (missing_setting(candidates.split, "all", None, reason),))

    everyone, luck = np.arange(m), _luck(candidates)
    full = _rank_within(embeddings, everyone, luck, part)
    tables = _tables(candidates, "all", None, "full", everyone, m, full)
    not_computed = []
    parted = _parted(candidates, embeddings, luck, part)
    for gallery, (ranked, size) in parted.items():
        kept = np.flatnonzero(size >= 2)
        if len(kept):
            chosen = _of_queries(ranked, kept)
            tables += _tables(candidates, "all", None, gallery, kept, size[kept], chosen)
        if lost := m - len(kept):
            reason = f"{lost} perturbations {_ALONE[gallery]}"
            not_computed.append(missing_setting(candidates.split, "all", None, reason))
    for psi in psis:
        active = np.flatnonzero(candidates.p_value <= psi)
        if len(active) < 2:
            undefined = int(np.isnan(candidates.p_value).sum())
            reason = (
                f"{len(active)} of {m} perturbations with p <= {psi:g} "
                f"({undefined} without a p-value); ranking needs two"
            )
            not_computed.append(missing_setting(candidates.split, "active", psi, reason))
            continue
        chosen = _of_queries(full, active)
        tables += _tables(candidates, "active", psi, "full", active, m, chosen)
        for gallery, (ranked, size) in parted.items():
            if len(known := active[size[active] >= 2]):
                chosen = _of_queries(ranked, known)
                tables += _tables(candidates, "active", psi, gallery, known, size[known], chosen)
        among = _rank_within(embeddings, active, luck, part)
        tables += _tables(candidates, "active", psi, "active", active, len(active), among)
        if candidates.not_toxic is None or candidates.not_toxic[active].all():
            continue
        subset: Subset = "active_not_toxic"
        alive = active[candidates.not_toxic[active]]
        if len(alive) < 2:
            reason = f"{len(alive)} of {len(active)} active perturbations have enough cells"
            not_computed.append(missing_setting(candidates.split, subset, psi, reason))
            continue
        chosen = _of_queries(full, alive)
        tables += _tables(candidates, subset, psi, "full", alive, m, chosen)
        among = _rank_within(embeddings, alive, luck, part)
        tables += _tables(candidates, subset, psi, subset, alive, len(alive), among)
    return Ranks(tuple(tables), tuple(not_computed), _graded(candidates, embeddings, luck, part))


def _graded(
    candidates: Candidates,
    embeddings: Mapping[str, QueriesAndGallery],
    luck: Float[np.ndarray, "m"],
    part: ranks.Part,
) -> tuple[Graded, ...]:
    """Graded relevance under every model, of all perturbations; none where it cannot be told."""
    relevance = candidates.relevance
    if relevance is None or not relevance.known(len(luck)).any():
        return ()
    compared = {
        model: entry if isinstance(entry, Compared) else Compared(*entry)
        for model, entry in embeddings.items()
    }
    told: dict[str, tuple[np.ndarray, np.ndarray, ranks.Distance, bool]] = {
        model: (np.asarray(of.profiles), np.asarray(of.molecules), of.metric, of.ties == "random")
        for model, of in compared.items()
    }
    return (
        Graded(
            candidates.split,
            relevance.told,
            np.asarray(candidates.molecule),
            np.asarray(candidates.concentration_um, np.float64),
            np.asarray(candidates.condition),
            np.asarray(candidates.p_value, np.float64),
            ndcg(relevance, told, luck, part=part),
        ),
    )


_BOTH: tuple[Direction, ...] = ("profile_to_molecule", "molecule_to_profile")
_ALONE = {
    "own_condition": "are the only ones of their condition: no gallery of its own",
    "same_dose": "are the only ones of their dose: no gallery of the same dose",
    "same_source": "are the only ones of their source: no gallery of the same source",
}


def _rank_within(
    embeddings: Mapping[str, QueriesAndGallery],
    members: Int[np.ndarray, "k"],
    luck: Float[np.ndarray, "m"],
    part: ranks.Part,
    directions: Sequence[Direction] = _BOTH,
    group: Int[np.ndarray, "k"] | None = None,
) -> dict[Direction, dict[str, Int[np.ndarray, "k"]]]:
    """Ranks of the members among the members, or of their groups among these, every model."""
    own = np.arange(len(members))
    result: dict[Direction, dict] = {direction: {} for direction in directions}
    for model, entry in embeddings.items():
        compared = entry if isinstance(entry, Compared) else Compared(*entry)
        profile_rows, molecule_rows, metric, ties = compared
        x, m = np.asarray(profile_rows)[members], np.asarray(molecule_rows)[members]
        for direction in directions:
            query, gallery = (x, m) if direction == "profile_to_molecule" else (m, x)
            try:
                found = ranks.rank_of_positive(
                    query, gallery, own, metric=metric, group=group, part=part
                )
            except ValueError as error:
                raise ValueError(f"embeddings of {model}: {error}") from error
            drawn = ties == "random"
            result[direction][model] = found.drawn(luck[members]) if drawn else found.pessimistic
    return result


_Parted = tuple[dict[Direction, dict[str, Int[np.ndarray, "m"]]], Int[np.ndarray, "m"]]


def _luck(candidates: Candidates) -> Float[np.ndarray, "m"]:
    """A number in [0, 1) for each perturbation, by its name: the same in whatever order or part."""
    names = zip(candidates.molecule, candidates.concentration_um, candidates.condition, strict=True)
    texts = (f"{molecule} {float(dose):.6g} {condition}" for molecule, dose, condition in names)
    drawn = [int.from_bytes(hashlib.blake2b(t.encode(), digest_size=6).digest()) for t in texts]
    return np.array(drawn) / 2.0**48


def _parted(
    candidates: Candidates,
    embeddings: Mapping[str, QueriesAndGallery],
    luck: Float[np.ndarray, "m"],
    part: ranks.Part,
) -> dict[Gallery, _Parted]:
    """Ranks of all in each gallery that parts them, and its size; where there are several parts."""
    paper: tuple[Direction, ...] = ("profile_to_molecule",)
    # Doses within 1% of each other are one; more digits than that are their rounding.
    dose = np.array([f"{c:.3g}" for c in np.asarray(candidates.concentration_um).tolist()])
    labels: dict[Gallery, tuple[np.ndarray | None, tuple[Direction, ...]]] = {
        "own_condition": (candidates.condition, _BOTH),
        "same_dose": (dose, paper),
        "same_source": (candidates.source, paper),
    }
    found: dict[Gallery, _Parted] = {
        gallery: _rank_within_parts(np.asarray(of), embeddings, luck, part, directions)
        for gallery, (of, directions) in labels.items()
        if of is not None and len(np.unique(of)) > 1
    }
    m = len(candidates.molecule)
    names, group = np.unique(candidates.molecule, return_inverse=True)
    if 1 < len(names) < m:
        ranked = _rank_within(embeddings, np.arange(m), luck, part, paper, group)
        found["molecules"] = ranked, np.full(m, len(names))
    return found


def _rank_within_parts(
    label: Shaped[np.ndarray, "m"],
    embeddings: Mapping[str, QueriesAndGallery],
    luck: Float[np.ndarray, "m"],
    part: ranks.Part,
    directions: Sequence[Direction],
) -> _Parted:
    """Ranks among the candidates of the same label, and how many those are; 0 where alone."""
    m = len(label)
    result: dict[Direction, dict] = {
        direction: {model: np.zeros(m, np.int64) for model in embeddings}
        for direction in directions
    }
    size = np.zeros(m, np.int64)
    names, code = np.unique(label, return_inverse=True)
    for c in range(len(names)):
        members = np.flatnonzero(code == c)
        size[members] = len(members)
        if len(members) < 2:
            continue
        for direction, by_model in _rank_within(
            embeddings, members, luck, part, directions
        ).items():
            for model, rank in by_model.items():
                result[direction][model][members] = rank
    return result, size


def _of_queries(by_direction, chosen: Int[np.ndarray, "k"]) -> dict[Direction, dict]:
    """The ranks of some queries."""
    return {
        direction: {model: rank[chosen] for model, rank in by_model.items()}
        for direction, by_model in by_direction.items()
    }


def _tables(candidates, subset, psi, gallery, members, n_gallery, by_direction) -> list[RankTable]:
    return [
        RankTable(
            setting=Setting(candidates.split, subset, psi, gallery, direction),
            molecule=np.asarray(candidates.molecule)[members],
            concentration_um=np.asarray(candidates.concentration_um, np.float64)[members],
            condition=np.asarray(candidates.condition)[members],
            n_gallery=np.full(len(members), n_gallery, np.int64),
            rank=by_model,
        )
        for direction, by_model in by_direction.items()
    ]


def missing_setting(split: str, subset: str, psi: float | None, reason: str) -> dict:
    """An entry of ``not_computed``."""
    return {"split": split, "subset": subset, "psi": psi, "reason": reason}
