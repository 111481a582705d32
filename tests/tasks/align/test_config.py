import pytest

from molphenix_jax import tasks
from molphenix_jax.evaluation import BASELINES
from molphenix_jax.losses import LOSSES
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.tasks.align.config import SIZES, default_config, listed, named_files


def changed(**changes) -> Config:
    config = default_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


@pytest.mark.parametrize("size", SIZES)
def test_the_defaults_hold_together(size):
    tasks.validate(default_config(size=size))
    tasks.validate(default_config(wells="screen.parquet", size=size))


def test_few_has_what_serves_some_hundred_molecules():
    """Chosen on validation molecules (docs/results.md); it differs from small in nothing else."""
    few, small = (default_config(size=size).to_dict() for size in ("few", "small"))
    few, small = (dict(_leaves(of)) for of in (few, small))
    differ = {name: few[name] for name in small if few[name] != small[name]}
    assert {name: value for name, value in differ.items() if not name.endswith("_every")} == {
        "data.psi": 1.0,
        "model.concentration": "log",
        "model.molecules.components": 32,
        "train.steps": 100,
        "train.warmup_steps": 10,
    }


def _leaves(tree, name=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value


CONTRADICTIONS = {
    "data.correction": {"data__correction": "magic"},
    "data.group_by": {"data__group_by": "well"},
    "data.undefined_p": {"data__undefined_p": "perhaps"},
    "data.split": {"data__split": "random"},
    "data.averaging": {"data__averaging": "median"},
    "data.psi": {"data__psi": 0.0},
    "data.keep_inactive": {"data__keep_inactive": 1.5},
    "data.test_fraction": {"data__test_fraction": 0.0},
    "data.validation_fraction": {"data__validation_fraction": 0.9},
    "data.unseen_images_fraction": {"data__unseen_images_fraction": -0.1},
    "data.butina_cutoff": {"data__butina_cutoff": 2.0},
    "data.clip": {"data__clip": -1.0},
    "data.folds": {"data__folds": 0},
    "data.repeats": {"data__repeats": 0},
    "eval.toxic_below": {"eval__toxic_below": 1.5},
    "data.n_null": {"data__n_null": 50},
    "data.max_replicates": {"data__max_replicates": 0},
    "molecules.blocks and molecules.embeddings": {"molecules__blocks": ""},
    "molecules.blocks='ecfp'": {"molecules__blocks": "maccs,ecfp"},
    "molecules.embeddings='molgps'": {"molecules__embeddings": "molgps"},
    "molecules.embeddings='maccs=": {"molecules__embeddings": "maccs=file.npz"},
    "model.concentration": {"model__concentration": "raw"},
    "model.concentration=onehot has nothing for a": {
        "eval__heldout_concentrations": (10.0,),
        "model__concentration": "onehot",
    },
    "loss.name": {"loss__name": "triplet"},
    "loss.execution": {"loss__execution": "fast"},
    "loss.chunk_size": {"loss__chunk_size": 64, "loss__execution": "dense"},
    "loss.options.s2l": {"loss__name": "s2l", "loss__options__s2l__form": "sum"},
    "loss.null_constant": {"loss__null_constant": "mean"},
    "loss.similarity_from": {"loss__similarity_from": "molecule"},
    "loss.replicate_correlation=1.0": {"loss__replicate_correlation": 1.0},
    "loss.replicate_correlation=0.5": {"loss__replicate_correlation": 0.5, "loss__name": "clip"},
    "loss.soft_share=0.9": {"loss__soft_share": 0.9},
    "loss.soft_share=0.01": {"loss__soft_share": 0.01, "loss__name": "cwcl"},
    "train.steps": {"train__steps": 0},
    "train.batch_size": {"train__batch_size": 1},
    "train.members": {"train__members": 0},
    "train.log_every": {"train__log_every": 0},
    "train.validate_every": {"train__validate_every": 0},
    "train.checkpoint_every": {"train__checkpoint_every": 0},
    "train.keep_checkpoints": {"train__keep_checkpoints": 0},
    "train.compute_dtype": {"train__compute_dtype": "float16"},
    "train.learning_rate": {"train__learning_rate": 0.0},
    "train.weight_decay": {"train__weight_decay": -0.1},
    "train.grad_clip": {"train__grad_clip": 0.0},
    "model.phenomics.width": {"model__phenomics__width": 0},
    "model.molecules.n_blocks": {"model__molecules__n_blocks": -1},
    "model.molecules.components": {"model__molecules__components": -1},
    "model.phenomics.input_dropout": {"model__phenomics__input_dropout": 1.0},
    "model.molecules.dropout": {"model__molecules__dropout": -0.5},
    "model.phenomics.whiten": {"model__phenomics__whiten": 1.5},
    "model.dim": {"model__dim": 0},
    "model.scale_init": {"model__scale_init": 0.0},
    "eval.psi": {"eval__psi": (0.1, 0.1)},
    "eval.baselines": {"eval__baselines": "knn,oracle"},
}


@pytest.mark.parametrize("named", CONTRADICTIONS)
def test_each_contradiction_is_named(named):
    with pytest.raises(ConfigError) as caught:
        tasks.validate(changed(**CONTRADICTIONS[named]))
    assert named in str(caught.value)


def test_several_contradictions_are_listed_together():
    with pytest.raises(ConfigError) as caught:
        tasks.validate(changed(data__psi=2.0, train__learning_rate=-1.0, loss__name="triplet"))
    lines = str(caught.value).splitlines()
    assert [line.split("=")[0].strip() for line in lines[1:]] == [
        "data.psi",
        "loss.name",
        "train.learning_rate",
    ]


def test_an_unknown_task_and_an_unknown_size():
    with pytest.raises(ConfigError, match="'fold'.*align"):
        tasks.validate(changed(task="fold"))
    with pytest.raises(ConfigError, match="'huge'.*paper"):
        default_config(size="huge")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_its_options_in_the_config(name):
    config = changed(loss__name=name)
    tasks.validate(config)
    assert set(config.loss.options.get(name, {})) == set(LOSSES[name].options)


def test_every_baseline_may_be_named():
    tasks.validate(changed(eval__baselines=",".join(BASELINES)))


def test_lists_in_a_text_field():
    assert listed(" a, b,,c ") == ("a", "b", "c")
    assert listed("") == ()
    assert named_files("x=a.npz, y=b=c.npz") == {"x": "a.npz", "y": "b=c.npz"}
