"""`molphenix embed-images` as a user runs it, killed on the way."""

import os
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.images import ImageSource, find_fields
from molphenix_jax.models.vit import Encoder, EncoderConfig, MAEConfig, embed_crops
from molphenix_jax.molecules import check_smiles
from molphenix_jax.phenomics import CropConfig, field_crops
from molphenix_jax.trained.encoders.image_encoder import write_image_encoder
from molphenix_jax.wells.table import read_wells
from tests.images import screens

pytestmark = pytest.mark.long

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def arguments(layout: str, images: pathlib.Path, out: pathlib.Path, *more: str) -> list[str]:
    return [
        *("embed-images", f"--layout={layout}", f"--images={images}", f"--out={out}"),
        *("--encoder=intensity", "--crop=16", "--batch-size=8", *more),
    ]


def test_rxrx3_core_becomes_a_wells_table(tmp_path):
    root = screens.rxrx3(tmp_path / "data", nested=True)
    metadata = screens.rxrx3_metadata(tmp_path / "metadata_rxrx3_core.csv")
    out = tmp_path / "wells.parquet"
    assert cli.main(arguments("rxrx3-core", root, out, f"--metadata={metadata}")) == 0
    wells = read_wells(out, check_smiles=check_smiles).table
    assert wells["is_control"].tolist() == [True, False, False]
    assert wells["concentration_um"].tolist() == [0, 0.25, 2.5]
    assert wells["batch"].unique().tolist() == ["compound-001"]
    assert wells["well"].tolist() == ["AA04", "B02", "AA04"]


def test_bray2017_becomes_a_wells_table(tmp_path):
    root, index = screens.bray2017(tmp_path / "npz")
    out = tmp_path / "wells.parquet"
    crop = ("--crop=256", f"--index={index}")
    assert cli.main(arguments("bray2017", root, out, *crop)) == 0
    frame = pd.read_parquet(out)
    assert frame["n_fields"].tolist() == [2, 2, 2]
    assert len(frame["embedding"][0]) == 60
    assert read_wells(out, check_smiles=check_smiles).table["plate"].tolist() == [
        *("24277", "24277", "26795"),
    ]  # fmt: skip


def test_mistakes_end_as_a_sentence(tmp_path, capsys):
    assert cli.main(arguments("gallery", tmp_path / "no", tmp_path / "x.parquet")) == 1
    assert "no such folder" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(arguments("gallery", tmp_path, tmp_path / "x.parquet", "--columns=smiles"))
    assert "OURS=THEIRS" in capsys.readouterr().err
    command = arguments("gallery", tmp_path, tmp_path / "x.parquet", "--channelwise")
    assert cli.main(command) == 1
    assert "intensity has all channels" in capsys.readouterr().out


def test_a_masked_autoencoder_embeds(tmp_path, capsys):
    config = MAEConfig(EncoderConfig(16, 1, 2, 8), channels=3, width=16, depth=1, heads=2)
    images = jnp.zeros((1, 3, 16, 16))
    encoder = jax.jit(Encoder(config.encoder).init)(jax.random.key(0), images)
    weights = {"params": {"encoder": encoder["params"]}}
    write_image_encoder(tmp_path / "encoder", config, weights, source="a test", config={})
    root, out = screens.gallery(tmp_path / "images"), tmp_path / "wells.parquet"
    command = arguments("gallery", root, out, "--core=16", "--level=field")
    command = [c.replace("encoder=intensity", f"encoder={tmp_path / 'encoder'}") for c in command]
    assert cli.main(command) == 0
    found = find_fields(ImageSource("gallery", root))
    crops = [field_crops(found.read(f), CropConfig(16, core=16))[0] for f in found.fields]
    want = embed_crops(config.encoder, encoder, jnp.stack(crops))
    got = np.stack(pd.read_parquet(out)["embedding"].to_list())
    np.testing.assert_allclose(got, np.asarray(want), atol=1e-5)
    beside = [c.replace(out.name, "beside.parquet") for c in command]
    assert cli.main([*beside, "--channelwise"]) == 0
    got = np.stack(pd.read_parquet(out.with_name("beside.parquet"))["embedding"].to_list())
    want = embed_crops(config.encoder, encoder, jnp.stack(crops), channelwise=True)
    np.testing.assert_allclose(got, np.asarray(want), atol=1e-5)
    assert cli.main([*command, "--channelwise"]) == 1  # the table beside which it would resume
    assert "made with other encoder" in capsys.readouterr().out
    assert cli.main([*command, "--positions=slice"]) == 1
    assert "made with other encoder" in capsys.readouterr().out
    sliced = [c.replace(out.name, "sliced.parquet") for c in command]
    assert cli.main([*sliced, "--positions=slice"]) == 0
    got = np.stack(pd.read_parquet(out.with_name("sliced.parquet"))["embedding"].to_list())
    want = embed_crops(config.encoder, encoder, jnp.stack(crops), positions="slice")
    np.testing.assert_allclose(got, np.asarray(want), atol=1e-5)
    assert cli.main([*command[:-1], "--crop=12"]) == 1
    assert "patches of 8 pixels" in capsys.readouterr().out


def test_killed_at_any_moment_the_same_command_continues(tmp_path):
    root = screens.gallery(tmp_path / "images")
    metadata = screens.treatments(tmp_path / "treatments.csv")
    next(root.rglob("r01c02f02p01-ch2*")).write_bytes(b"II*\0 cut off")
    more = ("--part-fields=1", f"--metadata={metadata}")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": ""}

    def command(out: pathlib.Path) -> list[str]:
        return [sys.executable, "-m", "molphenix_jax.cli", *arguments("gallery", root, out, *more)]

    out = tmp_path / "killed" / "wells.parquet"
    out.parent.mkdir()
    parts = tmp_path / "killed" / "wells.parquet.parts"
    for wanted in (1, 4):
        process = subprocess.Popen(command(out), env=environment, cwd=REPOSITORY)
        deadline = time.monotonic() + 120
        while len(list(parts.glob("part-*.parquet"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
        assert not out.exists()
    whole = tmp_path / "whole" / "wells.parquet"
    whole.parent.mkdir()
    for path in (out, whole):
        subprocess.run(command(path), env=environment, cwd=REPOSITORY, check=True)
    assert out.read_bytes() == whole.read_bytes()
    rejected = [p.with_name("wells.rejected.csv") for p in (out, whole)]
    assert rejected[0].read_bytes() == rejected[1].read_bytes()
    (row,) = pd.read_csv(rejected[0]).to_dict("records")
    assert pathlib.Path(row["file"]).name.startswith("r01c02f02p01-ch2")
    assert row["reason"].startswith("unreadable")
    assert len(read_wells(out, check_smiles=check_smiles).table) == 6
