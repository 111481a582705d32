"""What several screens share, on small models: pure functions on parameters."""

import jax
import numpy as np
import pytest

from molphenix_jax.models import ConcentrationEncoding, MolPhenix, TowerConfig
from molphenix_jax.tasks.align.several import shared

pytestmark = pytest.mark.slow

# Three features for both; a dose that both have, one of each; a condition of the second.
LABELS = {"a": ["f0", "f1", "f2", "1 µM", "3 µM"], "b": ["f0", "f1", "f2", "3 µM", "9 µM", "48 h"]}
PROFILES = {"a": 4, "b": 7}


@pytest.fixture(scope="module")
def models():
    model = MolPhenix(TowerConfig(8, 1), TowerConfig(8, 1), 4)
    keys = jax.random.split(jax.random.key(0), 2)
    return model, {
        name: jax.jit(model.init)(
            key, np.zeros((2, PROFILES[name])), np.zeros((2, len(LABELS[name])))
        )
        for name, key in zip(LABELS, keys, strict=True)
    }


def test_equal_inputs_are_one_row():
    rows = shared.input_rows(LABELS)
    np.testing.assert_array_equal(rows["a"], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(rows["b"], [0, 1, 2, 4, 5, 6])


def test_each_screen_has_an_ordinary_model(models):
    model, of = models
    rows = shared.input_rows(LABELS)
    params = shared.joined(of, rows)
    # The first screen's model comes back to the last bit; the second has its molecule side.
    first = shared.of_screen(params, "a", rows["a"])
    jax.tree.map(np.testing.assert_array_equal, first, of["a"])
    second = shared.of_screen(params, "b", rows["b"])
    shapes = lambda tree: jax.tree.map(np.shape, tree)  # noqa: E731
    assert shapes(second) == shapes(of["b"])
    for part in shared.OWN:
        jax.tree.map(np.testing.assert_array_equal, second["params"][part], of["b"]["params"][part])
    kernel = lambda tree: tree["params"]["molecule_head"]["project_in"]["kernel"]  # noqa: E731
    np.testing.assert_array_equal(kernel(second)[:3], kernel(of["a"])[:3])  # features
    np.testing.assert_array_equal(kernel(second)[3], kernel(of["a"])[4])  # 3 µM
    np.testing.assert_array_equal(kernel(second)[4:], kernel(of["b"])[4:])  # its own
    out = jax.jit(model.apply)(second, np.ones((2, PROFILES["b"])), np.ones((2, len(LABELS["b"]))))
    assert np.isfinite(out.z_m).all()


def test_members_go_in_front(models):
    _, of = models
    rows = shared.input_rows(LABELS)
    params = shared.joined(of, rows)
    members = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), params)
    ours = shared.of_screen(members, "b", rows["b"])
    one = shared.of_screen(params, "b", rows["b"])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], 2 * b), ours, one)


def test_a_gradient_reaches_shared_rows_from_both_and_own_rows_from_one(models):
    _, of = models
    rows = shared.input_rows(LABELS)
    params = shared.joined(of, rows)

    def total(params, name):
        return sum(
            leaf.sum() for leaf in jax.tree.leaves(shared.of_screen(params, name, rows[name]))
        )

    grads = {name: jax.grad(total)(params, name)["params"] for name in LABELS}
    for name, expected in (("a", [1, 1, 1, 1, 1, 0, 0]), ("b", [1, 1, 1, 0, 1, 1, 1])):
        kernel = grads[name]["molecule_head"]["project_in"]["kernel"]
        np.testing.assert_array_equal(kernel[:, 0], expected)
    assert float(np.abs(grads["a"][shared.SCREENS]["b"]["log_scale"])) == 0


def test_own_parts_are_put_back(models):
    _, of = models
    rows = shared.input_rows(LABELS)
    params = shared.joined(of, rows)
    changed = {name: shared.of_screen(params, name, rows[name]) for name in LABELS}
    changed["b"]["params"]["log_scale"] = np.float32(7)
    after = shared.with_own(params, changed)
    assert after["params"][shared.SCREENS]["b"]["log_scale"] == 7
    assert shared.of_screen(after, "a", rows["a"])["params"]["log_scale"] == pytest.approx(
        float(of["a"]["params"]["log_scale"])
    )


def test_doses_are_shared_where_they_are_equal():
    doses = {"a": np.float32([1, 3]), "b": np.float32([3.03, 9])}
    for kind, columns in (("onehot", 3), ("log", 1), ("none", 0)):
        together = ConcentrationEncoding.fit(np.concatenate(list(doses.values())), kind=kind)
        assert together.width == columns
        own = {name: shared.own_doses(together, of) for name, of in doses.items()}
        for encoding, labels in own.values():
            assert encoding.width == len(labels)
            assert (encoding.mean, encoding.std) == (together.mean, together.std)
            assert len(encoding.grid_log10) == 2  # what the model of a screen calls its doses
        both = set(own["a"][1]) & set(own["b"][1])
        assert len(both) == min(columns, 1)
