"""Every ablation of the program in every tier: its configs can be, and each row is another run."""

import pathlib

import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.ablations import Ablation, Claim, Row, grid
from molphenix_jax.ablations.grid import TIERS, AblationError
from molphenix_jax.errors import InputError
from molphenix_jax.runtime.config import ConfigError, plain
from molphenix_jax.runtime.progress import console
from molphenix_jax.simulated.screen import simulate_wells
from molphenix_jax.tasks.align.config import default_config, simulation_config
from molphenix_jax.tasks.stored import changes
from molphenix_jax.trained.encoders.minimol import minimol_folder
from molphenix_jax.trained.folder import MODEL_FILE

NAMES = grid.names()
INPUTS = {"wells": "wells.parquet", "images": "plates"}


def built(name: str, tier: str):
    """Config of the first seed of each row that is run."""
    ablation, size = grid.load(name, tier), TIERS[tier]
    cells = [c for c in grid.cells(ablation, size) if not grid.why_skipped(c.row, size, INPUTS)]
    return ablation, {c.row.name: grid.config_of(c, size, INPUTS, {}) for c in cells[::-1]}


def test_decide_draws_molecules_of_a_file_most_of_them_inactive(tmp_path):
    file = tmp_path / "mine.smi"
    file.write_text("".join(f"CCCCCC{'C' * i}C(=O)N\n" for i in range(40)))
    cell = grid.cells(grid.load("losses", "decide"), TIERS["decide"])[0]
    config = grid.config_of(cell, TIERS["decide"], {}, {"data.simulated.molecules": str(file)})
    simulation = simulation_config(config)
    assert simulation.n_molecules == 30_000
    with pytest.raises(InputError, match=r"there are 40 molecules of mine.smi"):
        simulate_wells(simulation, tmp_path)
    small = {"data.simulated.molecules": str(file), "data.simulated.n_molecules": "30"}
    config = grid.config_of(cell, TIERS["decide"], {}, small)
    wells = pd.read_parquet(simulate_wells(simulation_config(config), tmp_path)[0])
    wells = wells[~wells["is_control"]]
    assert len(wells) / (30 * 4) == pytest.approx(1.6, abs=0.15)
    assert wells["batch"].nunique() == 2


def test_they_are_found_by_name():
    assert {"losses", "dose_encodings"} <= {*NAMES}


def test_the_reference_of_few_is_that_size():
    _, configs = built("few", "small")
    small, few = (default_config(wells="wells.parquet", size=size) for size in ("small", "few"))
    differs = {line.partition(":")[0] for line in changes(small, few)}
    # How often a run tells of itself follows from its updates, and makes no other model.
    differs -= {"train.log_every", "train.validate_every", "train.checkpoint_every"}
    assert differs == {*grid.load("few", "small").fields}
    assert not differs & {line.partition(":")[0] for line in changes(configs["few"], few)}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_another_training(name, tier):
    ablation, configs = built(name, tier)
    assert ablation.reference in configs
    assert ablation.claims
    told = list(configs.items())
    for i, (a, first) in enumerate(told):
        assert first.seed == 0
        for b, second in told[:i]:
            lines = [x for x in changes(first, second) if not x.startswith("eval.baselines")]
            assert lines, f"{a} and {b} are the same run"
    for row in ablation.rows:
        flat = flatten(plain(configs[row.name])) if row.name in configs else {}
        for field, value in row.fields.items():
            told = value.format_map(INPUTS) if isinstance(value, str) else plain(value)
            assert not flat or flat[field] == told


@pytest.mark.parametrize("name", [ablation.name for ablation in grid.of_paper("small")])
def test_the_full_tier_is_the_paper_s_and_asks_for_wells(name):
    ablation, size = grid.load(name, "full"), TIERS["full"]
    assert all(
        "--input=wells" in grid.why_skipped(row, size, {}) for row in ablation.rows if not row.skip
    )
    train = built(name, "full")[1][ablation.reference].train
    assert train.steps * train.batch_size == 20_000 * 512


def test_baselines_are_ranked_once():
    ablation, size = grid.load("losses", "small"), TIERS["small"]
    cells = grid.cells(ablation, size)
    assert len(cells) == 8 * 3
    told = [c for c in cells if grid.config_of(c, size, {}, {}).eval.baselines]
    assert [str(c.place) for c in told] == ["losses/s2l/seed_0"]


def test_a_dose_is_held_out_in_a_run_of_its_own():
    ablation = Ablation("t", "T4", [Row("a", "A"), Row("b", "B")], "a", heldout=True)
    cells = grid.cells(ablation, TIERS["small"])
    assert [str(c.place) for c in cells[:3]] == [
        "a/without_1/seed_0",
        "b/without_1/seed_0",
        "a/without_10/seed_0",
    ]
    config = grid.config_of(cells[0], TIERS["small"], {}, {"model.concentration": "log"})
    assert config.eval.heldout_concentrations == (1.0,)


FILE = """
from molphenix_jax.ablations import Ablation, Row

def get_ablation(tier):
    return Ablation("Title", "none", [Row("a", "A"), {row}], "{reference}")
"""


@pytest.mark.parametrize(
    ("row", "reference", "message"),
    [
        (
            'Row("b", "B", {"loss.gone": 1})',
            "a",
            r"row b: loss.gone: there is no such config field",
        ),
        ('Row("b", "B", {"train.steps": "many"})', "a", r"row b: train.steps='many'"),
        ('Row("b", "B", {"train.steps": 0})', "a", r"row b: (.|\n)*train.steps=0"),
        ('Row("b", "B", arg="speed=9")', "a", "row b: .*'speed' is unknown"),
        ('Row("b", "B", config="s2p")', "a", "row b: --config=s2p is no config file"),
        ('Row("a", "B")', "a", "row 'a': .* which no other row has"),
        ('Row("../b", "B")', "a", r"row '\.\./b'"),
        ('Row("b", "B")', "c", "there is no row 'c'; there are a, b"),
    ],
)
def test_what_cannot_be_is_a_sentence_with_file_and_row(row, reference, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("{row}", row).replace("{reference}", reference))
    with pytest.raises(AblationError, match=message):
        configs_of(path)


def test_what_is_no_ablation_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="gone is no config file.*dose_encodings, .*losses"):
        grid.load("gone", "small")
    (tmp_path / "x.py").touch()
    with pytest.raises(AblationError, match="has no get_ablation"):
        grid.load(str(tmp_path / "x.py"), "small")


def test_inputs_are_filled_in_and_missed():
    row = Row("mine", "Mine", {"molecules.embeddings": "mine={mine}"}, needs=("mine",))
    assert grid.why_skipped(row, TIERS["small"], {}) == "missing input: --input=mine=…"
    ablation = Ablation("t", "none", [row], "mine")
    cell = grid.cells(ablation, TIERS["small"])[0]
    config = grid.config_of(cell, TIERS["small"], {"mine": "emb.parquet"}, {})
    assert config.molecules.embeddings == "mine=emb.parquet"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("data.folds", "5", 5), ("eval.psi", "0.05,0.1", (0.05, 0.1)), ("data.split", "butina", None)],
)
def test_fields_of_every_run_are_given_as_texts(field, text, value):
    cell = grid.cells(grid.load("losses", "small"), TIERS["small"])[0]
    config = grid.config_of(cell, TIERS["small"], {}, {field: text})
    section, name = field.split(".")
    assert config[section][name] == (text if value is None else value)


@pytest.mark.parametrize("given", ["data.gone=1", "data.folds=some", "gone=1", "data.folds.x=1"])
def test_a_field_that_cannot_be_is_a_sentence(given):
    field, _, text = given.partition("=")
    cell = grid.cells(grid.load("losses", "small"), TIERS["small"])[0]
    with pytest.raises(AblationError, match=f"{field}.*: "):
        grid.config_of(cell, TIERS["small"], {}, {field: text})


def test_rows_of_minimol_are_skipped_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLPHENIX_CACHE", str(tmp_path))
    size, asked = TIERS["small"], ("minimol", "everything")
    rows = grid.load("molecule_encoders", "small").rows
    skipped = {row.name: grid.why_skipped(row, size, {}) for row in rows}
    for name in asked:
        assert skipped.pop(name).endswith("molphenix pretrained minimol")
    assert not any(skipped.values())
    minimol_folder().mkdir(parents=True)
    (minimol_folder() / MODEL_FILE).touch()
    configs = built("molecule_encoders", "small")[1]
    told = [configs[name].molecules.blocks for name in asked]
    assert told == ["minimol", "morgan,maccs,rdkit,minimol"]


def test_rows_that_were_left_out_are_skipped():
    ablation, size = grid.load("losses", "small"), TIERS["small"]
    kept = grid.only(ablation, ("siglip", "s2l"))
    told = {row.name: grid.why_skipped(row, size, {}) for row in kept.rows}
    assert {name for name, why in told.items() if not why} == {"siglip", "s2l"}
    assert told["clip"] == "left out by --rows"
    assert grid.only(ablation, ()) == ablation
    with pytest.raises(AblationError, match="losses, --rows: there is no 'gone'; there are s2l, "):
        grid.only(ablation, ("s2l", "gone"))
    with pytest.raises(AblationError, match="compared with s2l; add it"):
        grid.only(ablation, ("siglip",))


def test_what_is_not_of_the_paper_is_not_of_all():
    assert {*NAMES} - {a.name for a in grid.of_paper("small")} == {"few"}


def test_claims_name_rows():
    claim = Claim("a beats c", "lost", (("a", "c"),))
    with pytest.raises(AblationError, match="no row 'c'"):
        Ablation("t", "none", [Row("a", "A")], "a", claims=[claim])


def test_where_every_row_is_skipped_nothing_has_passed(tmp_path):
    with console.capture() as shown:
        status = cli.main(["ablate", "losses", "--tier=full", f"--workdir={tmp_path / 'x'}"])
    assert status == 1
    said = shown.get()
    assert "SKIP losses/s2l: missing input: --input=wells=" in said
    assert "nothing is measured" in said
    assert not [*tmp_path.iterdir()]


def test_files_are_packaged():
    folder = pathlib.Path(grid.__file__).parents[1] / "configs" / "ablations"
    assert {path.stem for path in folder.glob("*.py")} == {*NAMES}


def configs_of(path):
    cells = grid.cells(grid.load(str(path), "small"), TIERS["small"])
    return [grid.config_of(cell, TIERS["small"], {}, {}) for cell in cells]


def flatten(config, prefix=""):
    found = {}
    for name, value in config.items():
        found |= (
            flatten(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {f"{prefix}{name}": value}
        )
    return found
