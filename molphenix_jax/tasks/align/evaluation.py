"""The protocol on a trained run: model, baselines and oracle on each split (docs/method.md §13)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.evaluation import (
    UNTRAINED,
    BaselineData,
    Candidates,
    Compared,
    Graded,
    LeftOut,
    Observed,
    Part,
    Prediction,
    QueriesAndGallery,
    Ranks,
    RankTable,
    Relevance,
    evaluate,
    predict,
    put_together,
)
from molphenix_jax.molecules import featurise, is_embedding
from molphenix_jax.runtime import processes
from molphenix_jax.runtime.config import listed
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.step import initial_params
from molphenix_jax.screens.confounders import Confounders, confounders_of, mechanisms_of
from molphenix_jax.screens.screen import PackedBlock, Screen, ScreenError, unpacked_rows
from molphenix_jax.screens.versions import need_current
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.trained import sides
from molphenix_jax.wells.conditions.values import level_key, level_order, listed_levels


class _Split(NamedTuple):
    """Perturbations of a screen that are ranked together, and the profiles that search."""

    name: str
    screen: Screen
    ids: Int[np.ndarray, " n"]
    profile: Float[np.ndarray, "n d"]
    wells: Bool[np.ndarray, " w"] | None = None  # replicates that the profiles are of; None: all


def rank_run(
    run: AlignRun, params: Any, unseen: Mapping[str, Screen], *, features: "BaselineInputs"
) -> Ranks:
    """Ranks every split of a fold under the model, the configured baselines and the oracle.

    Each process of a job embeds and ranks its share of the queries, and has the ranks of all at the
    end; the first one fits the baselines.

    Args:
        run: The fold.
        params: Its trained parameters [members, …].
        unseen: Other screens by name, prepared with this run's screen as their reference.
        features: What the baselines know of molecules; kept from fold to fold.
    """
    splits = _splits(run, unseen)
    missing = [
        {"split": s.name, "subset": "all", "psi": None, "reason": _why_empty(run, s.name)}
        for s in splits
        if not len(s.ids)
    ]
    splits = [s for s in splits if len(s.ids)]
    for s in splits:
        dose = s.screen.concentration_um[s.ids]
        if len(unknown := dose[run.encoding.off_grid(dose)]):
            few = ", ".join(f"{d:g}" for d in np.unique(unknown)[:5])
            say(
                f"- {s.name}: {len(unknown):,} of {len(dose):,} pairs have doses that training "
                f"lacks ({few} µM): they count as the nearest of its doses "
                f"(model.concentration={run.encoding.kind}; log or sigmoid tell them apart)"
            )
    part = Part(jax.process_index(), jax.process_count())
    baselines = [name for name in listed(run.config.eval.baselines) if name != UNTRAINED]
    first = processes.is_first()
    predictions = _predictions(run, splits, features, baselines) if first else {}
    names = processes.first_says(list(predictions))
    models = {"molphenix": params}
    if UNTRAINED in listed(run.config.eval.baselines):
        members, seed = run.config.train.members, run.config.seed
        models[UNTRAINED] = initial_params(run, members=members, seed=seed)
    tables: list[RankTable] = []
    graded: list[Graded] = []
    start = 0
    for s in splits:
        end = start + len(s.ids)
        embeddings: dict[str, QueriesAndGallery] = {
            name: _embedded(run, of, s) for name, of in models.items()
        }
        observed = features.observed(s) if predictions else None
        for name in names:
            compared = _compared(predictions.get(name), observed, slice(start, end))
            if compared is not None:
                embeddings[name] = compared
        if s.screen.truth is not None:
            embeddings["oracle"] = (s.profile, s.screen.truth[s.ids], "euclidean")
        share = features.confounders(s.screen).mean_share(s.ids, wells=s.wells)
        below = run.config.eval.toxic_below
        candidates = Candidates(
            split=s.name,
            molecule=s.screen.molecules["inchikey"].to_numpy(str)[s.screen.molecule[s.ids]],
            concentration_um=s.screen.concentration_um[s.ids],
            condition=np.array(s.screen.conditions.labels)[s.screen.condition[s.ids]],
            p_value=s.screen.p_value[s.ids],
            profile=s.profile,
            source=features.confounders(s.screen).source_labels(s.ids),
            # A number that is unknown is below nothing and above nothing.
            not_toxic=None if share is None or not below else share >= below,
            relevance=_relevance(s),
        )
        ranked = evaluate(candidates, embeddings, psis=tuple(run.config.eval.psi), part=part)
        tables += ranked.tables
        missing += ranked.not_computed
        graded += ranked.graded
        start = end
    found = Ranks(tuple(tables), tuple(missing), tuple(graded))
    return put_together(found, processes.rows_of_all)


def _relevance(s: _Split) -> Relevance | None:
    """By true effects on a simulated screen, else by a column that names mechanisms, if any."""
    if s.screen.truth is not None:
        return Relevance("true effects", effects=s.screen.truth[s.ids])
    column, label = mechanisms_of(s.screen)
    return None if label is None else Relevance(f"column {column}", label=label[s.ids])


def _embedded(run: AlignRun, params: Any, s: _Split) -> QueriesAndGallery:
    """A split under the model, of which each process embeds whole chunks.

    Heads then see each chunk as they would in one process, and give the same bits. Where chunks are
    few the last processes have them, for the first one has the baselines.
    """
    n, i, of = len(s.ids), jax.process_index(), jax.process_count()
    chunks = max(n // sides.CHUNK, 1)  # the last is longer
    first, end = chunks * i // of, chunks * (i + 1) // of
    own = slice(first * sides.CHUNK, n if end == chunks else end * sides.CHUNK)
    query, gallery, ids = None, None, s.ids[own]
    if first < end:
        query = run.embed_queries(params, s.profile[own], ids=ids, wells=s.wells)
        gallery = run.embed_perturbations(params, s.screen, ids)
    return processes.rows_of_all(query), processes.rows_of_all(gallery), "cosine"


def _compared(
    prediction: Prediction | None, observed: Observed | None, rows: slice
) -> Compared | None:
    """Observed and predicted rows under a baseline, which the first process alone has.

    Args:
        prediction: Of all splits; None in the others.
        observed: What was measured of a split; None in the others.
        rows: Where it is in the prediction.

    Returns:
        None where the split has nothing that the baseline looks for.
    """
    compared = None
    if prediction is not None and observed is not None:
        compared = prediction.of_rows(rows).against(observed)
    how = processes.first_says(None if compared is None else [compared.metric, compared.ties])
    if how is None:
        return None
    query, gallery = (None, None) if compared is None else compared[:2]
    return Compared(processes.rows_of_all(query), processes.rows_of_all(gallery), *how)


def predictions_of_unseen(
    run: AlignRun, features: "BaselineInputs", names: Sequence[str]
) -> dict[str, Prediction]:
    """What baselines predict for the perturbations of a fold's unseen molecules, in their order.

    One that there is nothing to make of is missing.
    """
    splits = [s for s in _splits(run, {}) if s.name == "unseen_molecules"]
    return _predictions(run, splits, features, names)


def _predictions(
    run: AlignRun, splits: list[_Split], features: "BaselineInputs", names: Sequence[str]
) -> dict[str, Prediction]:
    """Each baseline's profiles of the candidates of all splits, in their order.

    Baselines learn from the perturbations that training may visit, with the same profiles.
    """
    if not (names and splits):
        return {}
    train, validation = run.visited, run.split.validation
    test = zip(*(features.inputs(s.screen, s.ids) for s in splits), strict=True)
    train_bits, train_physchem, train_log_dose = features.inputs(run.screen, train)
    validation_bits, validation_physchem, validation_log_dose = features.inputs(
        run.screen, validation
    )
    test_bits, test_physchem, test_log_dose = (np.concatenate(parts) for parts in test)
    test_condition = np.concatenate([run.condition_input(s.screen, s.ids) for s in splits])
    data = BaselineData(
        train_bits=train_bits,
        train_physchem=train_physchem,
        train_log_dose=train_log_dose,
        train_condition=run.condition_input(run.screen, train),
        train_profile=run.train_profiles(train),
        validation_bits=validation_bits,
        validation_physchem=validation_physchem,
        validation_log_dose=validation_log_dose,
        validation_condition=run.condition_input(run.screen, validation),
        validation_profile=run.train_profiles(validation),
        test_bits=test_bits,
        test_physchem=test_physchem,
        test_log_dose=test_log_dose,
        test_condition=test_condition,
        train_cell_count=features.confounders(run.screen).mean_cells(train),
        validation_cell_count=features.confounders(run.screen).mean_cells(validation),
        test_source=_side_by_side([features.observed(s).source for s in splits], splits),
        train_embedding=features.embedding(run.screen, train),
        validation_embedding=features.embedding(run.screen, validation),
        test_embedding=_together([features.embedding(s.screen, s.ids) for s in splits]),
    )
    found = {}
    for name in names:
        try:
            found[name] = predict(name, data)
        except LeftOut as error:
            features.leave_out(name, str(error))
    return found


def _together(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Rows of all splits; None where there are none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def _side_by_side(
    sources: Sequence[Float[np.ndarray, "k s"] | None], splits: Sequence[_Split]
) -> Float[np.ndarray, "m s"] | None:
    """Shares of sources of all splits; columns mean something within a split alone."""
    width = max((part.shape[1] for part in sources if part is not None), default=0)
    if not width:
        return None
    parts = [np.zeros((len(s.ids), width)) for s in splits]
    for part, known in zip(parts, sources, strict=True):
        if known is not None:
            part[:, : known.shape[1]] = known
    return np.concatenate(parts)


class BaselineInputs:
    """What the baselines know of molecules; what no screen holds is computed once.

    Fingerprints are the blocks of the model, or Morgan where it has none; descriptors are the
    physico-chemical ones. The baselines need both, whatever the model takes.
    """

    def __init__(self):
        self._computed: dict[tuple[int, str], np.ndarray] = {}
        self._confounders: dict[int, Confounders] = {}
        self.left_out: dict[str, str] = {}

    def leave_out(self, name: str, why: str) -> None:
        """Says once that a baseline is left out."""
        if name not in self.left_out:
            say(f"- without the control {name}: {why}")
        self.left_out[name] = why

    def confounders(self, screen: Screen) -> Confounders:
        """Numbers of cells and sources of the wells of a screen."""
        if id(screen) not in self._confounders:
            self._confounders[id(screen)] = confounders_of(screen)
        return self._confounders[id(screen)]

    def observed(self, split: _Split) -> Observed:
        """What was measured of the perturbations of a split."""
        of = self.confounders(split.screen)
        return Observed(
            split.profile,
            of.mean_cells(split.ids, wells=split.wells),
            of.sources_of(split.ids, wells=split.wells),
        )

    def inputs(
        self, screen: Screen, ids: Int[np.ndarray, " n"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fingerprint bits, physico-chemical descriptors and log10 dose of perturbations."""
        names = sorted(screen.block_names)
        bits = [name for name in names if isinstance(screen.blocks[name], PackedBlock)]
        molecule = screen.molecule[ids]
        fingerprint = [self.rows(screen, name, molecule) for name in bits or ["morgan"]]
        log_dose = np.log10(screen.concentration_um[ids].astype(np.float64))
        descriptors = self.rows(screen, "physchem", molecule)
        return np.concatenate(fingerprint, axis=1), descriptors, log_dose

    def embedding(self, screen: Screen, ids: Int[np.ndarray, " n"]) -> np.ndarray | None:
        """Blocks of perturbations but bits, descriptors and codes; None without any."""
        told = [
            self.rows(screen, name, screen.molecule[ids])
            for name in sorted(screen.block_names)
            if is_embedding(name) and not isinstance(screen.blocks[name], PackedBlock)
        ]
        return np.concatenate(told, axis=1) if told else None

    def rows(self, screen: Screen, name: str, rows: Int[np.ndarray, " n"]) -> np.ndarray:
        """A feature block of molecules of a screen, which need not have it.

        Raises:
            ScreenError: Its features are of other versions than those of this program.
        """
        if name in screen.blocks:
            return unpacked_rows(screen.blocks[name], rows)
        key = (id(screen), name)
        if key not in self._computed:
            need_current(
                screen.provenance,
                what=f"the screen {screen.name}, which has no {name} features for the baselines,",
                remedy="Leave the baselines out (--config.eval.baselines=), or prepare and train "
                "anew",
            )
            self._computed[key] = featurise(screen.molecules["smiles"].tolist(), name)
        return self._computed[key][rows]


def _splits(run: AlignRun, unseen: Mapping[str, Screen]) -> list[_Split]:
    """Every split of the protocol, empty ones too."""
    screen, split = run.screen, run.split
    splits = [
        _Split("unseen_molecules", screen, split.test, screen.profiles(split.test)),
        _Split(
            "unseen_images",
            screen,
            split.unseen_images,
            screen.profiles(split.unseen_images, wells=split.withheld),
            split.withheld,
        ),
        _Split("validation", screen, split.validation, screen.profiles(split.validation)),
    ]
    for concentration, ids in split.heldout.items():
        splits.append(
            _Split(f"heldout_concentration:{concentration:g}", screen, ids, screen.profiles(ids))
        )
    for name, other in unseen.items():
        ids = _novel(run, other)
        splits.append(_Split(f"unseen_screen:{name}", other, ids, other.profiles(ids)))
    return splits


def _novel(run: AlignRun, other: Screen) -> Int[np.ndarray, " n"]:
    """Perturbations of another screen whose molecule, stereo ignored, training has not seen.

    Under conditions that the training screen has: the model has no input for others.
    """
    seen = set(run.screen.molecules["inchikey"].str[:14].iloc[run.screen.molecule[run.split.train]])
    known = other.molecules["inchikey"].str[:14].isin(seen).to_numpy()
    told = ~_untold(run.screen, other)
    return np.flatnonzero(~known[other.molecule] & told[other.condition])


def other_conditions(screen: Screen, other: Screen) -> list[str]:
    """How the conditions of an unseen screen differ from those of the training screen, in words.

    Raises:
        ScreenError: It lacks a column that the model takes as input.
    """
    for name, levels in screen.conditions.levels.items():
        if name not in other.conditions.columns:
            raise ScreenError(
                f"unseen screen {other.name}: no column tells {name}, which the model is told "
                f"({listed_levels(name, levels)} in {screen.name}); add that column to its wells, "
                "or train with data.conditions=none"
            )
    said = []
    unknown = _untold(screen, other)
    if n_unknown := int(unknown[other.condition].sum()):
        named = "; ".join(other.conditions.labels[c] for c in np.flatnonzero(unknown)[:5])
        said.append(
            f"{n_unknown:,} of {other.n_perturbations:,} perturbations are left out, for the model "
            f"has no input for their condition: {named}"
        )
    for name in set(screen.conditions.columns) & set(other.conditions.columns):
        if name not in screen.conditions.levels:
            j, k = screen.conditions.columns.index(name), other.conditions.columns.index(name)
            trained = screen.conditions.values[0][j]
            found = {value[k] for value in other.conditions.values}
            if {level_key(value) for value in found} != {level_key(trained)}:
                said.append(
                    f"its {name} is {listed_levels(name, sorted(found, key=level_order))}, that of "
                    f"training {listed_levels(name, [trained])}: the model is not told"
                )
    return said


def _untold(screen: Screen, other: Screen) -> Bool[np.ndarray, " c"]:
    """Conditions of another screen that the model has no input for."""
    return np.isnan(other.conditions.encoded(screen.conditions).sum(axis=1))


def condition_counts(screen: Screen, psis: Sequence[float]) -> list[dict[str, Any]]:
    """For each condition its wells, molecules, perturbations, and how many are active at each ψ."""
    rows = []
    for c, label in enumerate(screen.conditions.labels):
        ids = np.flatnonzero(screen.condition == c)
        p_value = screen.p_value[ids]
        rows.append(
            {
                "condition": label,
                "wells": int(screen.n_replicates[ids].sum()),
                "molecules": len(np.unique(screen.molecule[ids])),
                "perturbations": len(ids),
                "without_p_value": int(np.isnan(p_value).sum()),
                "active": {f"{psi:g}": int((p_value <= psi).sum()) for psi in psis},
            }
        )
    return rows


def _why_empty(run: AlignRun, split: str) -> str:
    if run.config.data.refit_of and not split.startswith("unseen_screen"):
        return "every perturbation was trained on (data.refit_of)"
    if split == "unseen_images":
        if run.config.data.unseen_images_fraction == 0:
            return "data.unseen_images_fraction is 0"
        return "too few training perturbations with two or more replicate wells to withhold some"
    if split.startswith("unseen_screen"):
        return "every molecule of that screen under a condition of training is a training molecule"
    return "the split holds no perturbation"
