"""A trained model in three lines, without the screen that it was trained on.

model = molphenix_jax.load("runs/s2l")
z_m = model.embed_molecules(["CCO", "c1ccccc1"], concentration_um=10.0)
z_x = model.embed_profiles(wells, controls="is_dmso", groups="plate")
similarity = z_x @ z_m.T
"""

import pathlib
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

from molphenix_jax.molecules import FINGERPRINTS, standardise
from molphenix_jax.phenomics import NullProfiles
from molphenix_jax.retrieval.molecules import Featurised, MoleculeFeatures
from molphenix_jax.retrieval.profiles import Profiles
from molphenix_jax.trained.alignment import Alignment, read_alignment
from molphenix_jax.trained.finding import find_model, name_of
from molphenix_jax.trained.folder import MODEL_FOLDER, ModelError, ModelFolder, trained_config
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.trained.sides import ImageSide, PhenomicSide
from molphenix_jax.wells.conditions.values import listed_levels

# Why a model has none.
NO_HELD_OUT = (
    "the model keeps no held-out profiles: it learned from all molecules (as a refit and "
    "public-u2os have), or is of before"
)


def load(
    path: str | pathlib.Path, *, fold: int | None = None, screen: str | None = None
) -> "Model":
    """Loads a trained alignment model; neither its screen nor any cache is needed.

    Args:
        path: The --workdir of a run; a model folder (`RUN/model`, or one that was exported); the
            name of a model of this package, such as "public-u2os"; or "hf://OWNER/NAME", which
            takes one from the Hugging Face hub (@REVISION behind it: another than the newest).
        fold: Which fold's model, where the run has several.
        screen: Which screen's model, where the run has several.

    Raises:
        ModelError: There is none, it is damaged, or it is of another kind.
    """
    return Model(*read_alignment(find_model(path, fold=fold, screen=screen)))


def load_folds(run: str | pathlib.Path) -> list["Model"]:
    """The models of all folds of a run, in order, or its one model.

    Raises:
        ModelError: As `load`.
    """
    path = pathlib.Path(run)
    if not (path / f"fold_0/{MODEL_FOLDER}").is_dir():
        return [load(run)]
    folds = range(len(list(path.glob(f"fold_*/{MODEL_FOLDER}"))))
    return [load(path, fold=fold) for fold in folds]


class Model:
    """A trained model: molecules at concentrations and profiles become unit vectors of one space.

    The members of an ensemble are joined: a dot product of two embeddings is the mean of the
    members' cosines.
    """

    def __init__(self, folder: ModelFolder, trained: Alignment):
        self._folder, self._trained = folder, trained
        self._molecules = MoleculeFeatures(trained)
        self._profiles = Profiles(trained)

    def __repr__(self) -> str:
        about, side = self._trained.about, self._trained.molecular
        fitted, screen = about["trained"], about["screen"]
        doses = ", ".join(f"{dose:.3g}" for dose in self.doses_um)
        inputs = [*side.taken, *(["graphs"] if side.encoder else [])]
        told = [listed_levels(name, levels) for name, levels in self.conditions.items()]
        of = fitted.get("refit_of")
        lines = [
            f"molphenix model of {self.name}"
            + (f", the refit of {of} on all of its molecules" if of else ""),
            f"trained on {screen['name']}: {fitted['pairs']:,} perturbations of "
            f"{fitted['molecules']:,} molecules, {fitted['updates']:,} updates of "
            f"{fitted['loss']}, {fitted['members']} members",
            f"molecules by {', '.join(inputs)} and dose ({side.dose.kind}; trained at {doses} µM)"
            + (f", told {'; '.join(told)}" if told else ""),
            f"wells by {self._profiles.described()}",
        ]
        return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the config that it was trained with."""
        return trained_config(self._folder)

    @property
    def about(self) -> Mapping[str, Any]:
        """Provenance: `screen`, `featuriser`, `trained`, `version`."""
        return self._trained.about

    @property
    def path(self) -> pathlib.Path:
        """Its folder."""
        return self._folder.path

    @property
    def name(self) -> str:
        """What `load` finds it by: its folder's path, or its name in the package or on the hub."""
        return name_of(self._folder.path)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: two models are one where it is equal."""
        return self._folder.digest

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Features of a well, in the order that arrays have them."""
        return self._trained.feature_names

    @property
    def doses_um(self) -> Float[np.ndarray, " k"]:
        """The concentrations in µM that it was trained at, ascending."""
        return 10.0 ** np.array(self._trained.molecular.dose.grid_log10)

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """What it has to be told beside molecule and dose, each with the values that it knows."""
        return self._trained.molecular.conditions.levels

    @property
    def molecules(self) -> pd.DataFrame:
        """Molecules of its screen: inchikey, smiles, split (train: it has learned from them)."""
        return self._trained.splits

    @property
    def null_profiles(self) -> Float[np.ndarray, "n d"]:
        """Corrected profiles of single control wells of its screen."""
        return self._trained.null.profile

    def has_trained_on(self, smiles: Sequence[str] | pd.Series) -> Bool[np.ndarray, " n"]:
        """Whether each molecule, its stereo ignored, is one that the model learned from.

        Its profile is no evidence that the model generalises. False where it cannot be read.
        """
        return self.has_trained_on_keys(standardise(list(smiles))["inchikey"].tolist())

    def has_trained_on_keys(self, inchikey: Sequence[str | None]) -> Bool[np.ndarray, " n"]:
        """`has_trained_on` of molecules whose InChIKeys are known; False without a key."""
        table = self._trained.splits
        seen = {str(key)[:14] for key in table.loc[table["split"] == "train", "inchikey"]}
        known = (isinstance(key, str) and key != "" and key[:14] in seen for key in inchikey)
        return np.fromiter(known, bool)

    def embed_molecules(
        self,
        smiles: str | Sequence[str] | pd.Series,
        *,
        concentration_um: float | ArrayLike,
        conditions: Mapping[str, Any] | None = None,
        embeddings: Mapping[str, ArrayLike] | None = None,
        invalid: str = "raise",
    ) -> Float[np.ndarray, "n e"]:
        """z_m of molecules at concentrations.

        Args:
            smiles: n SMILES; salts and charges are settled as in training.
            concentration_um: In µM, one for all or one for each.
            conditions: A value for each of `self.conditions`, if there are any.
            embeddings: For each block that is no fingerprint of this package: its rows [n, k].
            invalid: "raise" stops at a molecule that cannot be used; "nan" gives it NaNs.

        Returns:
            Unit vectors, float32, a row for each SMILES.

        Raises:
            ModelError: A molecule, concentration or condition that cannot be used; it names the
                first, or the featuriser is not the one of the training.
        """
        texts = [smiles] if isinstance(smiles, str) else list(smiles)
        if invalid not in ("raise", "nan"):
            raise ModelError(f"invalid={invalid!r}: raise or nan")
        dose = _concentrations(concentration_um, len(texts))
        self.warn_of_doses(dose)
        found = self._molecules.of(texts, embeddings or {}, invalid=invalid)
        told = self._molecules.told(conditions or {})
        z = np.full((len(texts), self.width), np.nan, np.float32)
        z[found.rows] = found.embed(self._trained, dose[found.rows], told)
        return z

    def least_cosine(self, other: "Model") -> float:
        """Of this model's embeddings and another's that should be the same, the smallest cosine.

        They embed the molecules of the screen at the highest dose, and its control profiles.
        """
        told = {name: levels[0] for name, levels in self.conditions.items()}
        found = [1.0]
        if not self.needs_embeddings:
            smiles, dose = self.molecules["smiles"].unique().tolist(), float(self.doses_um[-1])
            ours, theirs = (
                each.embed_molecules(smiles, concentration_um=dose, conditions=told)
                for each in (self, other)
            )
            found.append(float((ours * theirs).sum(axis=1).min()))
        if len(other.null_profiles):
            null = other.null_profiles
            ours, theirs = (each.embed_profiles(null, corrected=True) for each in (self, other))
            found.append(float((ours * theirs).sum(axis=1).min()))
        return min(found)

    @property
    def block_widths(self) -> Mapping[str, int]:
        """Feature blocks of a molecule, and the columns of each."""
        return self._trained.block_widths

    @property
    def featuriser(self) -> MoleculeFeatures:
        """Makes what `embed_features` takes; for libraries, whose molecules are checked apart."""
        return self._molecules

    def embed_features(
        self,
        found: Featurised,
        *,
        concentrations_um: Sequence[float],
        conditions: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n k e"]:
        """z_m of featurised molecules at each of k concentrations."""
        told = self._molecules.told(conditions or {})
        n = len(found.rows)
        if not n:
            return np.zeros((0, len(concentrations_um), self.width), np.float32)
        doses = [np.full(n, dose) for dose in concentrations_um]
        return np.stack([found.embed(self._trained, dose, told) for dose in doses], axis=1)

    def off_grid(self, concentrations_um: ArrayLike) -> Bool[np.ndarray, " k"]:
        """Which concentrations the model was not trained at, and takes for the nearest one."""
        dose = np.asarray(concentrations_um, np.float64)
        return np.asarray(self._trained.molecular.dose.off_grid(dose), bool)

    def warn_of_doses(self, concentrations_um: Float[np.ndarray, " k"]) -> None:
        """Warns where some are none that the model was trained at."""
        if n_off := int(self.off_grid(concentrations_um).sum()):
            warnings.warn(
                f"{n_off} of {len(concentrations_um)} concentrations are none that the model was "
                f"trained at ({', '.join(f'{d:.3g}' for d in self.doses_um)} µM): they count as "
                "the nearest",
                stacklevel=3,
            )

    def embed_profiles(
        self,
        profiles: pd.DataFrame | Float[np.ndarray, "n d"] | ArrayLike,
        *,
        controls: str | ArrayLike | pd.DataFrame | None = None,
        groups: str | Shaped[np.ndarray, " n"] | ArrayLike | None = None,
        average: str | Shaped[np.ndarray, " n"] | ArrayLike | None = None,
        corrected: bool = False,
    ) -> Float[np.ndarray, "m e"]:
        """z_x of wells, or of the profiles that they average to.

        Args:
            profiles: A row for each well: raw features. Of a table the columns of
                `self.feature_names` are taken, in whatever order, or its list column `embedding`;
                an array has them in that order.
            controls: See `correct`.
            groups: See `correct`.
            average: A label for each row, or the column that has them: rows of one label are
                averaged after the correction, as replicates are. Without it each row is a profile.
            corrected: The rows are corrected already, by `correct`.

        Returns:
            Unit vectors, float32: a row for each row or, where these are averaged, for each label,
            in the order in which labels appear (`pandas.unique`).

        Raises:
            ModelError: Other features, NaN, or controls that are missing or too few.
        """
        side = self.need_profiles()
        if corrected:
            x = self._profiles.array(profiles, corrected=True)
        else:
            x = self._profiles.correct(profiles, controls, groups)
        if average is not None:
            labels = self._profiles.column(profiles, average, len(x), "average")
            code, names = pd.factorize(labels, use_na_sentinel=True)
            if (code < 0).any():
                raise ModelError(f"average: row {int((code < 0).argmax())} has no label")
            sums = np.zeros((len(names), x.shape[1]))
            np.add.at(sums, code, x)
            x = (sums / np.bincount(code)[:, None]).astype(np.float32)
        return side.embed(self._trained.params, x)

    def correct(
        self,
        wells: pd.DataFrame | Float[np.ndarray, "n d"] | ArrayLike,
        *,
        controls: str | ArrayLike | pd.DataFrame | None = None,
        groups: str | Shaped[np.ndarray, " n"] | ArrayLike | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Wells in the space of the training profiles: corrected by their own controls.

        Wells of several conditions (cell lines, times) are corrected in a call for each: what lies
        between those is no plate effect.

        Args:
            wells: As `profiles` of `embed_profiles`.
            controls: Which rows are negative controls: a column of the table, or a truth value for
                each row. Or control wells of their own, as a table or an array [m, d]; then all
                wells are one group. None: the wells are of groups of the training screen, whose
                statistics are kept.
            groups: The plate (or batch) of each row, or the column that tells it; None: one.

        Raises:
            ModelError: As `embed_profiles`.
        """
        self.need_profiles()
        return self._profiles.correct(wells, controls, groups)

    def correct_within(
        self,
        x: Float[np.ndarray, "n d"],
        group: np.ndarray,
        is_control: Bool[np.ndarray, " n"],
        condition: Int[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, "n d"], tuple[str, ...]]:
        """Checked wells of one file, of several conditions, corrected as an unseen screen is.

        Args:
            x: Raw features in the order of `feature_names`, all finite.
            group: Plate or batch of each well, each condition apart.
            is_control: Which are negative controls.
            condition: Number of the condition of each.

        Returns:
            Corrected wells, and a sentence for each group without statistics of its own.

        Raises:
            ModelError: The model takes images.
        """
        self.need_profiles()
        return self._profiles.within(x, group, is_control, condition)

    def embed_images(self, images: ArrayLike) -> Float[np.ndarray, "n e"]:
        """z_x of images of a model that was trained on such.

        Args:
            images: uint8 [n, c, h, w], channels and size as in training (`about["images"]`).

        Raises:
            ModelError: The model takes profiles, or the images are of another kind.
        """
        return self._profiles.embed_images(np.asarray(images))

    @property
    def width(self) -> int:
        """Length of an embedding."""
        return self._trained.molecular.model.dim * self.members

    @property
    def members(self) -> int:
        """Models of the ensemble, whose unit vectors lie side by side in an embedding."""
        return self._trained.about["trained"]["members"]

    @property
    def null(self) -> NullProfiles:
        """`null_profiles` with the group and the condition of each."""
        return self._trained.null

    @property
    def held_out(self) -> HeldOut | None:
        """Perturbations that it has not learned from; None where `NO_HELD_OUT`."""
        return self._trained.held_out

    @property
    def needs_controls(self) -> bool:
        """Whether wells are corrected by controls."""
        return self._trained.correction.method != "none"

    @property
    def needs_embeddings(self) -> bool:
        """Whether molecules need embeddings that are not computed here."""
        return any(name not in FINGERPRINTS for name in self._trained.molecular.blocks)

    def need_profiles(self) -> PhenomicSide:
        """The side of profiles.

        Raises:
            ModelError: The model takes images.
        """
        if isinstance(self._trained.phenomic, ImageSide):
            raise ModelError(f"{self._folder.path} was trained on images: use embed_images")
        return self._trained.phenomic


def _concentrations(given: float | ArrayLike, n: int) -> Float[np.ndarray, " n"]:
    try:
        dose = np.broadcast_to(np.asarray(given, np.float64), (n,))
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"concentration_um: one number in µM, or one for each of {n} molecules ({error})"
        ) from error
    bad = np.flatnonzero(~(np.isfinite(dose) & (dose > 0)))
    if len(bad):
        raise ModelError(
            f"concentration_um: {dose[bad[0]]:g} (molecule {bad[0]}) is no concentration above 0 µM"
        )
    return dose
