"""Seeded mutations of image folders: each field is read as it is, or rejected with a reason."""

import collections
import pathlib

import numpy as np

from molphenix_jax.images.files import ImageError
from molphenix_jax.images.found import FoundFields, find_fields
from tests.fuzz.attempts import damaged, seeds
from tests.fuzz.image_folders import layouts


def everything(found: FoundFields) -> tuple[dict, collections.Counter]:
    """Pixels of every field that can be read, and how often each field is rejected."""
    images = {}
    rejected = collections.Counter((r.plate, r.well, r.field) for r in found.rejected)
    for field in found.fields:
        place = (field.plate, field.well, field.field)
        try:
            images[place] = found.read(field)
        except ImageError:
            rejected[place] += 1
    return images, rejected


@seeds(40)
def test_a_field_is_read_as_it_is_or_rejected(tmp_path, seed, attempt):
    rng = np.random.default_rng(seed)
    writers = layouts()
    name = list(writers)[seed % len(writers)]
    screen = writers[name](tmp_path, rng)
    if rng.random() < 0.4:
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        tables = [path for path in files if path.suffix in (".csv", ".gz", ".parquet", ".npz")]
        for path in rng.choice(np.array(tables if rng.random() < 0.5 else files, object), 2):
            _damage(path, rng)
        attempt("damaged", lambda: everything(find_fields(screen.source)))
        return
    found = attempt("valid", lambda: find_fields(screen.source))
    images, rejected = everything(found)
    assert set(images) == set(screen.fields), (name, rejected)
    for place, image in screen.fields.items():
        np.testing.assert_array_equal(images[place], image, err_msg=f"{name} {place}")
        assert images[place].dtype == image.dtype
    assert set(rejected) >= screen.broken, (name, rejected)
    assert rejected.total() == screen.n_again + len(screen.broken), (name, rejected)
    told = found.metadata.table
    doses = dict(
        zip(zip(told["plate"], told["well"], strict=True), told["concentration_um"], strict=True)
    )
    for well, dose in doses.items():
        np.testing.assert_allclose(dose, screen.dose[well], rtol=1e-6)


def _damage(path: pathlib.Path, rng: np.random.Generator) -> None:
    way = rng.random()
    if way < 0.1:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.write_bytes(damaged(path.read_bytes(), rng))
