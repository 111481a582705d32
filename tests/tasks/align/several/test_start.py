"""First on other screens, then on one's own: a molecule side that starts where a run ended."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.screen import ScreenError
from molphenix_jax.tasks import validate
from molphenix_jax.tasks.align.training.assets import Start
from molphenix_jax.tasks.align.training.start import started as started_with
from molphenix_jax.tasks.molecule_encoder import PretrainedError
from tests import tiny
from tests.tasks.align.several.test_task import config

pytestmark = pytest.mark.slow

FIELDS = {"data__test_fraction": 0.34, "model__concentration": "log", "train__members": 2}


@pytest.fixture(scope="module")
def public(cache, wells, tmp_path_factory):
    """A run on the second screen that has left the first one out."""
    folder = tmp_path_factory.mktemp("public")
    tiny.train_here(config(cache, wells, **FIELDS, data__shares="first=0"), folder)
    return folder


def own(cache, wells, public, **changes):
    fields = {**FIELDS, "data__shares": "second=0", "molecules__start_from": str(public)}
    return config(cache, wells, **{**fields, **changes})


def started(c, folder):
    """The run of a config, and its first parameters."""
    task, _ = tiny.make(c, folder)
    with console.capture():
        run = task.run(0, folder)
    keys = jax.random.split(jax.random.key(0), c.train.members)
    first = jax.jit(jax.vmap(run.init))(keys)
    return run, first, jax.jit(run.start)(first)


def test_it_starts_with_the_molecule_side_of_the_other_run(cache, wells, public, tmp_path):
    run, at_random, params = started(own(cache, wells, public), tmp_path)
    theirs = molphenix_jax.load(public, screen="second")
    ours = run.of_screen(params, "first")["params"]
    before = run.of_screen(at_random, "first")["params"]
    # Its second screen has two conditions, which stand behind the features and the dose.
    kernel = theirs._trained.params["params"]["molecule_head"]["project_in"]["kernel"]
    np.testing.assert_array_equal(ours["molecule_head"]["project_in"]["kernel"], kernel[:, :-2])
    jax.tree.map(np.testing.assert_array_equal, ours["phenomic_head"], before["phenomic_head"])
    side = run.runs["first"].molecule_side
    np.testing.assert_array_equal(side.scaling.mean, theirs._trained.molecular.scaling.mean)
    assert (side.dose.mean, side.dose.std) == (
        theirs._trained.molecular.dose.mean,
        theirs._trained.molecular.dose.std,
    )


def test_conditions_of_its_own_begin_at_random():
    rng = np.random.default_rng(0)

    def model(members, rows):
        head = {"project_in": {"kernel": rng.normal(size=(members, rows, 4))}}
        return {"params": {"molecule_head": head, "bias": rng.normal(size=members)}}

    # Five features and a dose; one condition there, two here; three members of two.
    theirs, ours = model(2, 7), model(3, 8)
    start = Start("runs/public", pathlib.Path(), theirs, 1, pd.DataFrame())
    found = started_with(ours, start, n_conditions=2)
    kernel, before, source = (
        of["params"]["molecule_head"]["project_in"]["kernel"] for of in (found, ours, theirs)
    )
    np.testing.assert_allclose(kernel[:, :6], source[[0, 1, 0], :6], rtol=1e-6)
    np.testing.assert_allclose(kernel[:, 6:], before[:, 6:], rtol=1e-6)
    np.testing.assert_array_equal(found["params"]["bias"], ours["params"]["bias"])


@pytest.mark.long
def test_a_run_goes_on_without_the_other_and_names_its_molecules(cache, wells, public, tmp_path):
    away = tmp_path / "public"
    shutil.copytree(public, away)
    c = own(cache, wells, away)
    tiny.train_here(c, tmp_path / "run")
    shutil.rmtree(away)
    model = molphenix_jax.load(tmp_path / "run", screen="first")
    assert model.about["trained"]["start_from"] == "public"
    theirs = pd.read_csv(public / "screens" / "second" / "splits.csv")
    learned = theirs["inchikey"][theirs["split"] == "train"].tolist()
    assert model.has_trained_on_keys(learned).all()
    held = theirs["inchikey"][theirs["split"] != "train"].tolist()
    assert not model.has_trained_on_keys(held).any()

    # Killed after its first checkpoint it comes to the same bits.
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "run", killed)
    shutil.rmtree(killed / "checkpoints" / "step_4")
    (killed / "evaluation.json").unlink()
    assert "continuing after update 2" in tiny.train_here(c, killed)
    weights = [
        (folder / "screens" / "first" / "model" / "weights.safetensors").read_bytes()
        for folder in (killed, tmp_path / "run")
    ]
    assert weights[0] == weights[1]
    found = json.loads((killed / "evaluation.json").read_text())
    assert found == json.loads((tmp_path / "run" / "evaluation.json").read_text())


def test_what_was_trained_on_cannot_be_held_back(cache, wells, public, tmp_path):
    for name, changes in (
        ("split", {"data__split_seed": 1}),
        # The other run's own screen, by a split that knows no other.
        ("alone", {"data__wells": wells["second"], "data__shares": ""}),
    ):
        with pytest.raises(ScreenError, match=r"was trained on \d+ of the \d+ molecules"):
            started(own(cache, wells, public, **changes), tmp_path / name)


def test_what_does_not_fit_is_said(cache, wells, public, tmp_path):
    for number, (changes, said) in enumerate(
        (
            ({"molecules__blocks": "maccs,morgan"}, "feature blocks maccs, this run maccs, morgan"),
            ({"model__concentration": "none"}, "model.concentration log, this run none"),
            (
                {"model__molecules__width": 24},
                r"molecule_head/project_in/kernel: \(2, 17, 16\) there, \(2, 17, 24\) here",
            ),
        )
    ):
        with pytest.raises(PretrainedError, match=said):
            started(own(cache, wells, public, **changes), tmp_path / str(number))
    for changes, said in (
        ({"model__concentration": "onehot"}, "set log or sigmoid in both runs"),
        ({"molecules__encoder": "mpnn", "molecules__pretrained": "x"}, "leave one out"),
    ):
        with pytest.raises(ConfigError, match=said):
            validate(own(cache, wells, public, **changes))
