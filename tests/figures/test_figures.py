"""`molphenix figures`: each question answered where the answer is known, and the whole command."""

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from sklearn.neighbors import KNeighborsRegressor

from molphenix_jax import cli, storage, train
from molphenix_jax.figures import activity, asked, neighbourhood, properties, similarity
from molphenix_jax.phenomics import NullProfiles
from molphenix_jax.retrieval.molecules import Featurised
from molphenix_jax.trained.held_out import HeldOut
from tests import tiny

N, PER = 60, 2  # molecules of a fold, doses of each
SMILES = ["C" * (k % 12 + 1) + "O" + "C" * (k // 12) for k in range(N)]
OTHERS = [text.replace("O", "N") for text in SMILES]  # of the second fold


@dataclasses.dataclass
class Made:
    """Stands in for a model: `says` of z_m is whether the molecule acts, the rest is noise."""

    acts: np.ndarray
    says: float
    null: NullProfiles
    width: int = 4
    conditions: dict = dataclasses.field(default_factory=dict)
    about: dict = dataclasses.field(
        default_factory=lambda: {"screen": {"conditions": {"columns": [], "values": [[]]}}}
    )

    def embed_features(self, found, *, concentrations_um, conditions):
        del conditions
        acts = self.acts[found.blocks["number"][:, 0]]
        z = np.random.default_rng(0).normal(size=(len(acts), len(concentrations_um), self.width))
        z[..., 0] = (1 - self.says) * z[..., 0] + self.says * 6 * (acts[:, None] - 0.5)
        return z.astype(np.float32)


def folds(n: int, *, says: float, null: NullProfiles | None = None, width: int = 6):
    """Folds half of whose molecules act; what a model is given tells nothing of that."""
    helds, acts = [], {}
    for seed, smiles in enumerate([SMILES, OTHERS][:n]):
        rng = np.random.default_rng(seed)
        active = np.repeat(rng.permutation(N) < N // 2, PER)
        acts |= dict(zip(smiles, active[::PER].tolist(), strict=True))
        held = HeldOut(
            profile=rng.normal(size=(N * PER, width)).astype(np.float32),
            smiles=np.repeat(smiles, PER),
            inchikey=np.repeat([f"{seed:03}{k:011}-X" for k in range(N)], PER),
            concentration_um=np.tile([1.0, 10.0], N),
            condition=np.zeros(N * PER, np.int64),
            replicates=np.full(N * PER, 4),
            p_value=np.where(active, 0.001, 0.95),
            activity_p=np.full(N * PER, 0.5),
        )
        helds.append(held)
    each = np.array(sorted(acts))
    number = np.random.default_rng(2).permutation(len(each))
    found = Featurised(np.arange(len(each)), {"number": number[:, None]}, [], {})
    by_number = np.zeros(len(each), bool)
    by_number[number] = [acts[text] for text in each]
    model: Any = Made(by_number, says, null or NullProfiles.none(width))
    molecules = asked.Molecules(each, found)
    return [asked.Fold(model, held, molecules) for held in helds]


def fold(*, says: float, **given) -> asked.Fold:
    return folds(1, says=says, **given)[0]


def auroc(found: activity.Activity) -> dict[str, float]:
    return {row["model"]: row["value"] for row in found.rows if row["metric"] == "auroc"}


@pytest.mark.parametrize("several", [True, False])
def test_activity_is_told_from_embeddings_that_hold_it_and_not_from_noise(several):
    for says, low, high in ((1.0, 0.95, 1.0), (0.0, 0.3, 0.7)):
        made = folds(2 if several else 1, says=says)
        found = activity.activity(made, n_bootstrap=50)
        assert isinstance(found, activity.Activity)
        assert low <= auroc(found)["z_m"] <= high
        assert 0.3 <= auroc(found)["dose"] <= 0.7  # each molecule has every dose
        assert len(found.active) == N * PER * len(made)
        assert ("cross-validated" in found.note) != several


def test_activity_says_why_it_cannot_be_told():
    one = fold(says=1.0)
    held = dataclasses.replace(one.held, p_value=np.full(N * PER, 0.95))
    found = activity.activity([dataclasses.replace(one, held=held)])
    assert found == (
        f"0 molecules with an active perturbation and {N} with another one; telling them apart "
        "needs 5 of each"
    )


def test_noise_of_replicates_is_taken_off_distances_and_cosines():
    """Effects of active profiles, none of inactive ones; noise of length 4 a well, 4 wells each."""
    rng, width = np.random.default_rng(0), 64
    sd = 4 / np.sqrt(width)
    null = NullProfiles(
        (rng.normal(size=(3000, width)) * sd + 3).astype(np.float32),
        np.repeat(["A", "B"], 1500),
        np.zeros(3000, np.int64),
    )
    made = fold(says=0.0, null=null, width=width)
    effect = np.repeat(rng.normal(size=(1, width)), N * PER, axis=0)
    effect *= 3 / np.linalg.norm(effect[0]) * made.active[:, None]
    profile = effect + rng.normal(size=effect.shape) * sd / 2
    held = dataclasses.replace(made.held, profile=profile.astype(np.float32))
    found = similarity.similarities([dataclasses.replace(made, held=held)])
    assert isinstance(found, similarity.Similarities)
    assert found.notes == ()
    cosine = {g: v.mean() for g, v in found.values["cosine, noise subtracted"].items()}
    # All active ones have one effect; what is left of inactive ones has no direction.
    assert cosine["both active"] == pytest.approx(1.0, abs=0.08)
    assert found.values["cosine"]["both active"].mean() == pytest.approx(9 / (9 + 4), abs=0.05)
    arctan = {g: np.median(v) for g, v in found.values["arctan L2, noise subtracted"].items()}
    assert arctan["both inactive"] > 0.8 > 0.0 > arctan["active and inactive"]
    apart = found.apart
    assert apart["arctan L2"] > 0.9 > 0.4 > apart["cosine"]
    raw = found.comparisons[0]
    assert raw["difference"] == pytest.approx(apart["arctan L2"] - apart["cosine"])
    assert raw["ci"][0] > 0.3


def test_distances_of_pairs_are_scipy_s_and_their_resamples_are_of_molecules():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=300), rng.normal(size=200).round(1) + 0.5
    one[:50] = one[50:100].round(1)  # equal values within and between the two
    names = np.array([f"m{k}" for k in range(20)])
    who = names[rng.integers(0, 20, (2, 300))], names[rng.integers(0, 20, (2, 200))]
    found = similarity._apart({"x": (one, other)}, who, np.random.default_rng(1))["x"]
    told: Any = ks_2samp(one, other)
    assert found[0] == pytest.approx(float(told.statistic))
    # Were all pairs of one molecule, each resample would be the sample.
    alone = np.full((2, 300), "m"), np.full((2, 200), "m")
    same = similarity._apart({"x": (one, other)}, alone, np.random.default_rng(1))["x"]
    np.testing.assert_allclose(same, found[0])
    assert found[1:].std() > 0.02


def test_without_controls_the_noise_is_not_known_and_that_is_said():
    found = similarity.similarities([fold(says=0.0)])
    assert isinstance(found, similarity.Similarities)
    assert list(found.values) == ["cosine", "arctan L2"]
    assert "fewer than 20 profiles of control wells" in found.notes[0]
    held = dataclasses.replace(fold(says=0.0).held, p_value=np.full(N * PER, 0.5))
    why = similarity.similarities([dataclasses.replace(fold(says=0.0), held=held)])
    assert isinstance(why, str)
    assert why.startswith("0 pairs (both inactive), 0 pairs (both active)")


def test_pairs_are_of_different_molecules():
    made = fold(says=0.0)
    pairs = similarity._pairs(made, np.arange(N * PER), 10**6, np.random.default_rng(0))
    i, j = pairs["any two"]
    assert len(i) == (N * PER) ** 2 - N * PER * PER
    assert (made.skeleton[i] != made.skeleton[j]).all()
    i, j = pairs["active and inactive"]
    assert made.active[i].all()
    assert made.inactive[j].all()


def test_neighbours_agree_in_activity_where_embeddings_hold_it():
    for says, low, high in ((1.0, 0.9, 1.0), (0.0, -0.3, 0.3)):
        found = neighbourhood.neighbourhood([fold(says=says)])
        assert isinstance(found, neighbourhood.Ordered)
        assert [row["what"] for row in found.rows] == ["all doses", "1 µM", "10 µM"]
        assert low <= found.rows[0]["correlation"] <= high
        assert found.place.shape == (N * PER, 2)
        assert np.isfinite(found.place).all()


def test_neighbours_of_other_parts_answer_as_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(properties, "_CHUNK", 17)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    value, part = rng.normal(size=150), rng.integers(0, 3, 150)
    told = properties._by_neighbours(x, value, part)
    for p in range(3):
        model = KNeighborsRegressor(10, metric="cosine").fit(x[part != p], value[part != p])
        np.testing.assert_allclose(told[part == p], model.predict(x[part == p]), atol=1e-12)


def test_rare_positives_are_all_drawn_and_no_unlabelled_molecule():
    value = np.full(1000, np.nan)
    value[:900] = 0.0
    value[500:530] = 1.0
    rows = properties._drawn(value, np.random.default_rng(0).permutation(1000), "bce", 200)
    assert len(rows) == len(np.unique(rows)) == 200
    assert set(range(500, 530)) <= set(rows.tolist())
    rows = properties._drawn(value, np.arange(1000), "mae", 2000)
    assert rows.tolist() == list(range(900))


@pytest.mark.slow
def test_the_command_asks_every_fold_and_leaves_out_what_was_trained_on(tmp_path, cache, capsys):
    run = tmp_path / "run"
    train.train_and_evaluate(tiny.config(cache, data__folds=2), run)
    # Of the model's own molecules none is asked for; of the others a property that bits know.
    wells = tiny.wells(cache, seed=1)
    smiles = wells["smiles"].dropna().unique()
    more = [f"{'C' * (k % 20 + 1)}N{'C' * (k // 20)}(=O)" for k in range(20)]
    labels = pd.DataFrame({"smiles": [*smiles, *SMILES, *more]})
    labels["oxygen"] = labels["smiles"].str.contains("O").astype(int)
    labels["carbons"] = labels["smiles"].str.lower().str.count("c") + 0.5
    labels["few"] = np.where(np.arange(len(labels)) < 40, 1.5 + np.arange(len(labels)), np.nan)
    labels.to_csv(tmp_path / "labels.csv", index=False)
    capsys.readouterr()
    assert cli.main(["figures", str(run), f"--properties={tmp_path / 'labels.csv'}"]) == 0
    said = capsys.readouterr().out
    told = json.loads((run / "figures/figures.json").read_text())
    assert storage.is_intact(told)
    assert "digest" in told
    asked = {"similarity", "neighbourhood", "activity", "properties"}
    assert asked <= set(told)
    assert str(tmp_path) not in json.dumps(told)
    assert told["command"] == "molphenix figures RUN --properties=labels.csv"
    found = told["properties"]
    assert [row["label"] for row in found["rows"]] == ["carbons"]
    assert found["left_out"]["few"].endswith("100 are needed")
    assert {row["representation"] for row in found["means"]} >= {"bits"}
    page = (run / "figures/index.html").read_text()
    for name in ("similarity", "neighbourhood", "activity", "properties"):
        assert f"{name}: " in said
    assert page.count("<h2>") == 4
    assert cli.main(["figures", str(tmp_path / "no run")]) == 1
