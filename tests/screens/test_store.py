"""A screen on disk: what is written is read back, whole, in parts, by others, and from threads."""

import concurrent.futures
import dataclasses
import functools
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.screens.builders import FORMAT_VERSION
from molphenix_jax.screens.builders.molecules import Molecules, molecule_records
from molphenix_jax.screens.builders.write import build
from molphenix_jax.screens.screen import Archived, PackedBlock, Screen, ScreenError
from molphenix_jax.screens.store import open_screen
from molphenix_jax.wells.conditions.values import Conditions
from tests import tiny
from tests.screens.saving import save_screen

REJECTED = pd.DataFrame({"file": ["f.csv"], "row": [3], "field": ["smiles"], "reason": ["bad"]})


def a_screen(rng: np.random.Generator) -> Screen:
    """Five perturbations of three molecules, 0 to 3 replicates more than one, odd widths."""
    n_replicates = np.array([1, 3, 2, 1, 4])
    offsets = np.concatenate([[0], np.cumsum(n_replicates)])
    x = rng.standard_normal((offsets[-1], 7)).astype(np.float32)
    group = np.array(["p 1", "p/2", "p 1", "p;3"] * 3)[: len(x)]
    return Screen(
        name="five",
        replicates=x,
        offsets=offsets,
        molecule=np.array([0, 0, 1, 2, 2]),
        concentration_um=np.array([0.1, 1, 1, 0.3, 10], np.float32),
        condition=np.array([0, 1, 1, 0, 1]),
        conditions=Conditions(("time_h", "cell_line"), (("24", "U2OS"), ("48", "U2OS"))),
        p_value=np.array([np.nan, 0.01, 0.5, np.nan, 0.25], np.float32),
        molecules=pd.DataFrame(
            {"smiles": ["C", "CC", "CCµ"], "inchikey": ["A", "B", "C"], "scaffold": ["", "c", ""]}
        ),
        blocks={
            "bits": PackedBlock.of(rng.integers(0, 2, (3, 11)).astype(np.uint8)),
            "numbers": rng.standard_normal((3, 4)).astype(np.float32),
        },
        feature_names=tuple("abcdefg"),
        truth=rng.standard_normal((5, 7)).astype(np.float32),
        notes=("one", "two"),
        provenance={"source": ["f.csv"]},
        archive=Archived(
            fit_correction(x, group, np.ones(len(x), bool), method="tvn"),
            NullProfiles(x[:2], group[:2], np.array([0, 1])),
            pd.DataFrame(
                {"plate": group, "well": [f"A{i}" for i in range(len(x))], "group": group}
            ),
            REJECTED,
        ),
    )


@pytest.fixture(scope="module")
def screen() -> Screen:
    return a_screen(np.random.default_rng(0))


@pytest.fixture(scope="module")
def folder(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "five"
    save_screen(screen, folder, rejected=REJECTED)
    return folder


@pytest.mark.parametrize("where", ["on disk", "in memory"])
def test_all_of_a_screen_comes_back(screen, folder, where):
    opened = open_screen(folder)
    loaded = opened.in_memory() if where == "in memory" else opened
    assert loaded.folder == folder
    for field in dataclasses.fields(Screen):
        ours, theirs = getattr(loaded, field.name), getattr(screen, field.name)
        if field.name in ("replicates", "truth"):
            assert ours.shape == theirs.shape
            np.testing.assert_array_equal(ours[np.arange(len(theirs))], theirs)
        elif isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype.kind == theirs.dtype.kind
        elif field.name == "blocks":
            assert list(ours) == list(theirs)
            np.testing.assert_array_equal(ours["bits"].packed, theirs["bits"].packed)
            assert ours["bits"].width == 11
            np.testing.assert_array_equal(ours["numbers"], theirs["numbers"])
        elif field.name == "molecules":
            pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        elif field.name not in ("archive", "folder"):
            assert ours == theirs, field.name
    ours, theirs = loaded.archive, screen.archive
    np.testing.assert_array_equal(ours.correction.rotation, theirs.correction.rotation)
    np.testing.assert_array_equal(ours.null.profile, theirs.null.profile)
    np.testing.assert_array_equal(ours.null.group, theirs.null.group)
    pd.testing.assert_frame_equal(ours.wells, theirs.wells, check_dtype=False)
    pd.testing.assert_frame_equal(ours.rejected, REJECTED, check_dtype=False)


def test_replicates_are_read_in_any_order(screen, folder):
    opened = open_screen(folder)
    rows = np.array([[10, 0], [3, 3], [2, 7]])
    np.testing.assert_array_equal(opened.replicates[rows], screen.replicates[rows])
    assert opened.replicates[np.zeros(0, int)].shape == (0, 7)
    np.testing.assert_array_equal(opened.truth[[2, 0]], screen.truth[[2, 0]])


def test_profiles_are_the_same_wherever_the_rows_are(screen, folder):
    ids, seen = np.array([4, 1, 2]), np.arange(screen.n_wells) != 2
    for wells in (None, seen):
        ours = open_screen(folder).profiles(ids, wells=wells)
        np.testing.assert_array_equal(ours, screen.profiles(ids, wells=wells))
    np.testing.assert_allclose(ours[1], screen.replicates[[1, 3]].mean(axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="has no well to average"):
        screen.profiles(np.array([0]), wells=np.zeros(screen.n_wells, bool))


def test_rows_go_to_workers_and_threads(screen, folder):
    rows = open_screen(folder).replicates
    copy = pickle.loads(pickle.dumps(rows))
    assert len(pickle.dumps(rows)) < 10_000
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda i: copy[[i % 11, 0]], range(200)))
    for i, own in enumerate(got):
        np.testing.assert_array_equal(own, screen.replicates[[i % 11, 0]])


def test_a_screen_takes_blocks_that_it_has(folder):
    opened = open_screen(folder)
    assert opened.block_names == ("bits", "numbers")
    assert opened.taking(["numbers"]).block_names == ("numbers",)
    assert set(opened.taking(["numbers"]).blocks) == {"bits", "numbers"}
    with pytest.raises(ScreenError, match="no molecule features morgan.*some of bits,numbers"):
        opened.taking(["morgan"])


def test_anybody_can_read_the_data_sets_with_tfds(screen, folder):
    perturbations = tfds.builder_from_directory(folder / "perturbations" / "1.0.0")
    source = perturbations.as_data_source(split="screen")
    assert len(source) == 5
    record = source[4]
    np.testing.assert_array_equal(record["replicates"], screen.replicates[7:])
    names = perturbations.info.features["replicate_group"].feature.names
    group = [names[code] for code in record["replicate_group"]]
    assert group == screen.archive.wells["group"][7:].tolist()
    assert record["smiles"].decode() == "CCµ"
    assert np.isnan(source[0]["p_value"])
    molecules = tfds.data_source("molecules", split="screen", data_dir=folder)
    bits = np.unpackbits(molecules[1]["block_bits"], count=11)
    np.testing.assert_array_equal(bits, screen.blocks["bits"].unpack()[1])


@pytest.mark.slow
@pytest.mark.parametrize("beam_options", [(), ("--runner=DirectRunner",)], ids=["here", "beam"])
def test_many_shards_of_different_lengths_are_read_in_order(tmp_path, beam_options):
    # TFDS orders the lengths of more than ten shards that Beam wrote as text, 10 before 2.
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    table = pd.DataFrame({"smiles": [f"S{i}" for i in range(sum(lengths))]})
    table["inchikey"] = table["scaffold"] = table["smiles"]
    shards = [
        functools.partial(molecule_records, table[end - n : end], {}, first=end - n)
        for n, end in zip(lengths, np.cumsum(lengths).tolist(), strict=True)
    ]
    data = {"description": "many", "widths": {}, "bits": frozenset()}
    builder = Molecules(**data, shards=shards, data_dir=tmp_path)
    build(builder, beam_options=beam_options)
    read = tfds.data_source("molecules", split="screen", data_dir=tmp_path)
    assert [read[i]["smiles"].decode() for i in range(len(read))] == table["smiles"].tolist()


@pytest.mark.slow
def test_no_tensorflow_is_imported(folder):
    program = (
        "import sys; from molphenix_jax.screens.store import open_screen; "
        f"open_screen({str(folder)!r}).in_memory(); "
        "sys.exit(any(name.split('.')[0] == 'tensorflow' for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tiny.REPOSITORY)


def test_an_interrupted_write_leaves_nothing_behind(screen, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("molphenix_jax.screens.builders.write.Perturbations", stop)
        with pytest.raises(KeyboardInterrupt):
            save_screen(screen, tmp_path / "s", rejected=REJECTED)
    assert not (tmp_path / "s").exists()
    save_screen(screen, tmp_path / "s", rejected=REJECTED)
    np.testing.assert_array_equal(
        open_screen(tmp_path / "s").in_memory().replicates, screen.replicates
    )


def test_a_folder_of_format_3_is_a_screen_of_one_condition(screen, tmp_path):
    save_screen(screen, tmp_path / "s", rejected=REJECTED)
    header = tmp_path / "s" / "screen.json"
    meta = json.loads(header.read_text())
    del meta["conditions"], meta["digest"]
    header.write_text(json.dumps({**meta, "format": "3"}))
    with np.load(tmp_path / "s" / "index.npz") as archive:
        index = {name: archive[name] for name in archive.files if name != "condition"}
    np.savez(tmp_path / "s" / "index.npz", **index)
    opened = open_screen(tmp_path / "s")
    assert opened.conditions == Conditions()
    assert opened.condition.tolist() == [0] * 5
    assert opened.conditions.encoded(opened.conditions).shape == (1, 0)
    np.testing.assert_array_equal(opened.in_memory().replicates, screen.replicates)


def test_a_folder_of_another_format_is_refused(screen, tmp_path):
    save_screen(screen, tmp_path / "s", rejected=REJECTED)
    header = tmp_path / "s" / "screen.json"
    header.write_text(header.read_text().replace(f'"format": "{FORMAT_VERSION}"', '"format": "1"'))
    with pytest.raises(ScreenError, match="format 1.*prepare the screen again"):
        open_screen(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("screen.json", "corrected", "corrupted"), ("rejected.csv", "smiles", "smilez")],
)
def test_a_text_file_that_was_changed_is_refused(screen, tmp_path, name, old, new):
    noted = dataclasses.replace(screen, notes=("corrected by plate",))
    rejected = pd.DataFrame({"row": [3], "reason": ["smiles: none"]})
    save_screen(noted, tmp_path / "s", rejected=rejected)
    path = tmp_path / "s" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ScreenError, match=rf"{name} was changed.*delete that folder"):
        _ = open_screen(tmp_path / "s").archive.rejected
    told = json.loads((tmp_path / "s" / "screen.json").read_text().replace(new, old))
    (tmp_path / "s" / "screen.json").write_text(json.dumps(told))  # on one line
    path.write_text(text)
    assert open_screen(tmp_path / "s").archive.rejected["row"].tolist() == [3]


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "garbled": lambda data: b"\xff\x00\x80" * 40,
    "list": lambda data: b"[]",
    "null": lambda data: b"null",
    "object": lambda data: b"{}",
}
FILES = {
    "screen.json": "screen.json",
    "index.npz": "index.npz",
    "correction.npz": "correction.npz",
    "wells.parquet": "wells.parquet",
    "molecules/1.0.0/dataset_info.json": "molecules",
    "perturbations/1.0.0/*array_record*": "perturbations",
}


def everything(screen: Screen) -> tuple:
    archive = screen.archive
    return screen.in_memory(), archive.correction, archive.wells


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_or_missing_part_is_named_without_a_librarys_words(folder, tmp_path, name, how):
    copy = shutil.copytree(folder, tmp_path / "screen")
    (path,) = copy.glob(name)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    for _ in range(2):
        said = "is damaged|cannot be read|was changed"
        message = rf"screen in .*{FILES[name]} ({said}).*; delete that folder"
        with pytest.raises(ScreenError, match=message) as error:
            everything(open_screen(copy))
        assert "\n" not in str(error.value)
        path.unlink(missing_ok=True)
