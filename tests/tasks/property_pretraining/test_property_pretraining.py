"""A property-pretraining run from labels to report, its restart, its devices, its encoder's use."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import tasks
from molphenix_jax.errors import InputError
from molphenix_jax.molecules import load_embeddings, standardise
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.workdir.metrics import read_metrics
from molphenix_jax.storage import signed
from molphenix_jax.tasks.embed_molecules import EmbedError, embed_file
from molphenix_jax.tasks.molecule_encoder import PretrainedError, load_encoder, take_weights
from molphenix_jax.trained.folder import ModelError
from tests import pictures, tiny
from tests.tasks.property_pretraining.tiny_labels import config, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return table(tmp_path_factory.mktemp("labels") / "labels.parquet")


@pytest.fixture(scope="module")
def finished(labels, cache, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    c = config(labels, cache / "graphs", eval__targets="^soluble$", model__head_blocks="physchem")
    with pictures.drawn():
        said = tiny.train_here(c, workdir)
    return workdir, c, said


@pytest.mark.long
def test_a_run_says_writes_and_reports(finished):
    workdir, _, said = finished
    for name in ("graph_bce", "graph_mae", "graph_hybrid_ce_3", "node_mae"):
        assert f"- {name}: 1 labels" in said
    record = json.loads((workdir / "evaluation.json").read_text())
    of_target = [r for r in record["results"] if r["target"] == "soluble"]
    assert {r["model"] for r in of_target} == {"mpnn", "physchem_linear"}
    assert {r["metric"] for r in of_target} == {"auroc", "average_precision"}
    assert all(0 <= r["value"] <= 1 for r in of_target)
    assert record["comparisons"][0]["baseline"] == "physchem_linear"
    means = [r for r in record["results"] if r["target"].startswith("mean of")]
    assert {r["target"].split("(")[1] for r in means} == {
        "graph_bce)",
        "graph_mae)",
        "graph_hybrid_ce_3)",
        "node_mae)",
    }
    page = (workdir / "report" / "index.html").read_text()
    assert "physchem_linear" in page
    assert (workdir / "report" / "training.png").stat().st_size > 1000
    assert (workdir / "report" / "targets.png").stat().st_size > 1000
    sides = pd.read_csv(workdir / "splits.csv")["split"]
    assert set(sides) == {"train", "validation", "unseen_molecules"}
    last = list(read_metrics(workdir / "metrics.jsonl"))[-1]
    assert last["kind"] == "validation"
    assert "validation_auroc_graph_bce" in last


@pytest.mark.long
def test_a_killed_run_continues_bit_for_bit(finished, tmp_path):
    """What was killed before its last checkpoint."""
    workdir, c, _ = finished
    run = shutil.copytree(workdir, tmp_path / "killed")
    shutil.rmtree(run / "checkpoints" / "step_4")
    shutil.rmtree(run / "model")
    (run / "evaluation.json").unlink()
    assert "continuing after update 2" in tiny.train_here(c, run)
    for a, b in zip(tiny.parameters(c, workdir), tiny.parameters(c, run), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (run / name).read_bytes() == (workdir / name).read_bytes()


@pytest.mark.long
def test_it_learns_what_follows_from_the_structure(labels, cache, tmp_path):
    c = config(
        labels,
        cache / "graphs",
        data__columns="^logp$|^atom_degree$",
        model__head_width=128,
        train__steps=80,
        train__learning_rate=3e-3,
        train__validate_every=80,
        train__checkpoint_every=80,
    )
    tiny.train_here(c, tmp_path / "run")
    metrics = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    last, first = metrics[-1], next(m for m in metrics if m["kind"] == "validation")
    assert last["validation_r2_node_mae"] > 0.7 > first["validation_r2_node_mae"]
    assert last["validation_r2_graph_mae"] > first["validation_r2_graph_mae"] + 0.1


@pytest.mark.long
def test_two_devices_compute_the_loss_of_one(labels, cache, tmp_path):
    losses = []
    for devices in (1, 2):
        # Without random signs, which are drawn for each device.
        fields = {"train__devices": devices, "model__encoder__positional": ("rwse",)}
        c = config(labels, cache / "graphs", **fields)
        task, _ = tiny.make(c, tmp_path / f"{devices}")
        run = task.run(0, tmp_path / f"{devices}")
        batch = run.batch(0)
        assert batch.graphs.n_node.shape[0] == devices
        params = jax.jit(run.init)(jax.random.key(0))
        losses.append(float(jax.jit(run.loss)(params, batch, (), jax.random.key(1))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_contradictions_are_named(labels, cache):
    for field, value, message in (
        ("model__encoder__width", 15, "must be even"),
        ("model__encoder__norm", "batch", "choose one of layer, graph"),
        ("data__split", "random", "choose one of scaffold"),
        ("eval__baselines", "ecfp", "choose one of morgan_linear"),
        ("eval__targets", "(", "no regular expression"),
        ("train__lr_rules", ((r"/layer_\d+/.*kernel$", 1.0),), "lr_rules are not those of"),
    ):
        with pytest.raises(ConfigError, match=message):
            tasks.validate(config(labels, cache, **{field: value}))


@pytest.mark.long
def test_embed_writes_what_alignment_reads(finished, tmp_path):
    workdir, _, _ = finished
    molecules = tmp_path / "molecules.csv"
    smiles = ["CCO", "OCC", "c1ccccc1C(=O)O", "C1CC", "CC(=O)Nc1ccc(O)cc1"]
    pd.DataFrame({"SMILES": smiles}).to_csv(molecules, index=False)
    out = tmp_path / "emb.parquet"
    options = {"encoder": workdir, "out": out}
    n, width, rejected = embed_file(molecules, layers=("graph", "layer_0"), **options)
    assert (n, width) == (3, 32)
    assert rejected is not None
    assert pd.read_csv(rejected)["row"].tolist() == [4]
    table = standardise(["OCC", "c1ccccc1C(=O)O"])
    both = load_embeddings(out, table)
    # Alone and from another SMILES of the same molecule: the same fingerprint.
    pd.DataFrame({"SMILES": ["C(C)O"]}).to_csv(molecules, index=False)
    embed_file(molecules, layers=("graph", "layer_0"), **options)
    np.testing.assert_allclose(load_embeddings(out, table[:1]), both[:1], atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-3
    with pytest.raises(EmbedError, match="this encoder has layer_0, graph"):
        embed_file(molecules, layers=("layer_7",), **options)
    with pytest.raises(InputError, match="no column"):
        embed_file(molecules, layers=("graph",), smiles_column="x", **options)
    lines = tmp_path / "molecules.smi"
    lines.write_text("OCC ethanol\nC1CC ring\n")
    _, _, rejected = embed_file(lines, layers=("graph", "layer_0"), **options)
    np.testing.assert_allclose(load_embeddings(out, table[:1]), both[:1], atol=1e-5)
    assert rejected is not None
    row = pd.read_csv(rejected).iloc[0]
    assert (row["row"], row["field"], row["value"]) == (2, "line", "C1CC")
    pd.DataFrame({"SMILES": ["C1CC"]}).to_csv(molecules, index=False)
    with pytest.raises(EmbedError, match="no molecule can be embedded; the first: not a valid"):
        embed_file(molecules, layers=("graph",), **options)


@pytest.mark.long
def test_an_encoder_of_another_featuriser_is_refused(finished, tmp_path):
    workdir, _, _ = finished
    molecules = tmp_path / "molecules.csv"
    pd.DataFrame({"SMILES": ["CCO"]}).to_csv(molecules, index=False)
    run = shutil.copytree(workdir, tmp_path / "run")
    request = {"encoder": run, "out": tmp_path / "e.parquet", "layers": ("graph",)}
    path = run / "model" / "model.json"
    told = json.loads(path.read_text())
    del told["digest"]
    told["featuriser"]["graphs"] = "0+rdkit1999"
    path.write_text(json.dumps(signed(told)))
    with pytest.raises(ModelError, match="featuriser 0.rdkit1999"):
        embed_file(molecules, **request)
    # Without a finished model it is the run that says so.
    shutil.rmtree(run / "model")
    path = run / "featuriser.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "graphs": "0+rdkit1999"}))
    with pytest.raises(PretrainedError, match="featuriser 0.rdkit1999"):
        embed_file(molecules, **request)


@pytest.mark.long
def test_every_weight_that_does_not_fit_is_named(finished):
    workdir, _, _ = finished
    params = load_encoder(workdir).params
    same = take_weights(jax.tree.map(lambda x: x, params), params, source="run")
    jax.tree.map(np.testing.assert_array_equal, same, params)
    changed = jax.tree.map(lambda x: x, params)
    changed["params"]["layer_0"]["out"]["kernel"] = np.zeros((2, 2))
    changed["params"]["layer_9"] = {"bias": np.zeros(1)}
    del changed["params"]["graph_out"]["out"]["bias"]
    with pytest.raises(PretrainedError) as error:
        take_weights(params, changed, source="RUN")
    message = str(error.value)
    assert "params/layer_0/out/kernel: (2, 2) there, (16, 16) here" in message
    assert "params/layer_9/bias: has no place" in message
    assert "params/graph_out/out/bias: not in the pretrained run" in message
    with pytest.raises(PretrainedError, match="no checkpoint 77"):
        load_encoder(workdir, checkpoint=77)
