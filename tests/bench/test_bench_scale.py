"""`molphenix bench scale` on a screen that is small: what it writes and measures is all there."""

import json

import numpy as np
import pytest

from molphenix_jax.bench.made.scale_screen import BLOCKS, ScaleConfig, write_scale_screen
from molphenix_jax.cli import main
from molphenix_jax.screens.store import open_screen

SMALL = ScaleConfig(n_molecules=300, n_wells=1500, width=16, n_clusters=40)


def test_the_screen_has_the_size_asked_for_and_clusters(tmp_path):
    write_scale_screen(SMALL, tmp_path / "screen")
    screen = open_screen(tmp_path / "screen")
    assert screen.n_perturbations == 900
    counts = np.diff(screen.offsets)
    assert (counts.sum(), counts.min(), counts.max()) == (1500, 1, 4)
    assert {name: block.width for name, block in screen.blocks.items()} == BLOCKS
    assert screen.molecules["inchikey"].str[:14].is_unique
    # Molecules 0 and 40 share a cluster, 0 and 1 do not; at the highest dose it shows.
    mean = screen.profiles(np.array([3 * m + 2 for m in (0, 40, 1)]))
    assert np.dot(mean[0], mean[1]) > np.dot(mean[0], mean[2])


def test_wells_that_cannot_be_one_to_four_each(tmp_path):
    with pytest.raises(ValueError, match="800 wells for 900 perturbations: each has 1 to 4"):
        write_scale_screen(ScaleConfig(n_molecules=300, n_wells=800), tmp_path / "screen")


@pytest.mark.long
@pytest.mark.parametrize("placement", ["device", "stream"])
def test_the_command_reports_speed_memory_and_shares(placement, tmp_path, cache, capsys):
    arguments = ["bench", "scale", "--molecules=300", "--wells=1500", "--width=16", "--steps=2"]
    folder = tmp_path / "screen"
    arguments += [
        f"--folder={folder}",
        f"--json={tmp_path}/scale.json",
        "--batches=16",
        "--size=small",
    ]
    assert main([*arguments, f"--placement={placement}"]) == 0
    rows = {row["case"]: row for row in json.loads((tmp_path / "scale.json").read_text())["rows"]}
    assert rows["write 900 pairs, 1,500 wells × 16"]["ours"] > 0
    assert rows["batch 16, training"]["ours"] > 0
    assert 0 <= rows["batch 16, waiting for data"]["ours"] <= 1
    assert placement in rows["batch 16, waiting for data"]["note"]
    assert rows["batch 16, matrix products"]["ours"] > 0
    assert rows["peak memory of the process"]["ours"] > 0.1
    # The folder is kept, and used again only for the same size.
    assert open_screen(folder).n_perturbations == 900
    assert main([*arguments, "--wells=1600"]) == 1
    assert "holds a screen of another size" in capsys.readouterr().out
