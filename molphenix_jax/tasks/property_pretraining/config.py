"""Every field of a property-pretraining run, with its default, and the check that they fit."""

import re
from typing import Any

import ml_collections

from molphenix_jax.evaluation import PROPERTY_BASELINES
from molphenix_jax.models.mpnn import BASE_WIDTH, LAYER_RULE, mup_lr_rules, property_lr_rules
from molphenix_jax.molecules import FINGERPRINTS
from molphenix_jax.runtime.config import Config, ConfigError, pair_problems
from molphenix_jax.runtime.optimizer import train_fields, train_problems
from molphenix_jax.tasks.align.config import listed
from molphenix_jax.tasks.molecule_encoder import encoder_fields, encoder_problems
from molphenix_jax.tasks.property_pretraining.labels import LOSSES

PATHS = {"data.labels": "paths", "data.cache": "path"}


def default_config(*, labels: str = "", size: str = "1m", width: int = 0) -> Config:
    """The config of a property-pretraining run.

    Args:
        labels: Label tables, separated by commas; empty learns what RDKit computes for the
            built-in molecules (`molecules/chembl/`).
        size: Named size of the encoder.
        width: Of the encoder, in place of that size's; the learning rates follow it (muP).

    Raises:
        ConfigError: An unknown size.
    """
    tiny = size == "tiny"  # learns nothing: shows that labels and fields go through
    c = ml_collections.ConfigDict()
    c.task = "property_pretraining"
    c.seed = 0

    c.data = d = ml_collections.ConfigDict()
    d.labels = labels
    d.smiles_column = ""  # empty: the column whose name ends with "smiles"
    d.columns = ""  # regular expression over label columns; empty: all numbers and lists
    # (pattern, loss) rules, first match: bce | mae | hybrid_ce | none; the rest by their values.
    d.losses = ()
    d.computed = "physchem,maccs,morgan"  # without labels: feature blocks to learn
    d.cache = ""  # folder of prepared molecules; empty: $MOLPHENIX_CACHE or the user's
    d.max_atoms = 128  # larger molecules are rejected
    d.split = "scaffold"  # scaffold | butina
    d.butina_cutoff = 0.4
    d.test_fraction = 0.2
    d.validation_fraction = 0.1  # of what is not test

    d.n_computed = 100 if tiny else 0  # without labels: of the built-in molecules, 0 for all

    c.model = h = ml_collections.ConfigDict()
    h.encoder = encoder_fields(size)
    h.encoder.width = width or h.encoder.width
    # Feature blocks that the heads see beside the graph's embedding.
    h.head_blocks = ""
    h.head_width = 16 if tiny else 256  # of the MLP in front of each head; 0: linear heads
    h.head_dropout = 0.0

    steps, batch_size = (6, 32) if tiny else (2_000, 256)
    c.train = t = train_fields(steps=steps, batch_size=batch_size, learning_rate=1e-3)
    t.weight_decay = 0.01
    t.lr_rules = property_lr_rules(
        h.encoder.width, h.encoder.out_width, mup_lr_rules(h.encoder.width)
    )

    c.eval = e = ml_collections.ConfigDict()
    # Regular expression of labels that are evaluated beside baselines; this one matches none.
    e.targets = "(?!)"
    e.baselines = ",".join(PROPERTY_BASELINES)
    e.n_bootstrap = 200
    return c


def unused(c: Config) -> tuple[str, ...]:
    """Beginnings of the fields that a config makes no use of: none."""
    del c
    return ()


def validate(c: Config) -> None:
    """Fails on a config that contradicts itself, before any work.

    Raises:
        ConfigError: Names every field that is wrong, and the remedy.
    """
    d, h, e = c.data, c.model, c.eval
    wrong = pair_problems("data.losses", d.losses, str)
    wrong += pair_problems("train.lr_rules", c.train.lr_rules, (int, float))
    if wrong:
        raise ConfigError("the config cannot be used:\n  " + "\n  ".join(wrong))
    wrong = [*encoder_problems("model.encoder", h.encoder), *train_problems(c.train)]

    def check(holds: bool, message: str) -> None:
        if not holds:
            wrong.append(message)

    def choice(field: str, value: Any, options: Any) -> None:
        check(value in options, f"{field}={value!r}: choose one of {', '.join(options)}")

    choice("data.split", d.split, ("scaffold", "butina"))
    check(0 < d.butina_cutoff <= 1, f"data.butina_cutoff={d.butina_cutoff!r}: in (0, 1]")
    check(1 <= d.max_atoms <= 1024, f"data.max_atoms={d.max_atoms!r}: from 1 to 1,024")
    for name in ("test_fraction", "validation_fraction"):
        check(0 < d[name] <= 0.5, f"data.{name}={d[name]!r}: above 0, at most 0.5")
    for _, loss in d.losses:
        choice("data.losses", loss, LOSSES)
    check(d.n_computed >= 0, f"data.n_computed={d.n_computed!r}: positive, or 0 for all")
    if not d.labels:
        for block in listed(d.computed):
            choice("data.computed", block, FINGERPRINTS)
        check(bool(listed(d.computed)), "data.labels and data.computed are both empty")
    for block in listed(h.head_blocks):
        choice("model.head_blocks", block, FINGERPRINTS)
    check(h.head_width >= 0, f"model.head_width={h.head_width!r}: at least 0")
    check(0 <= h.head_dropout < 1, f"model.head_dropout={h.head_dropout!r}: at least 0, below 1")
    for name in listed(e.baselines):
        choice("eval.baselines", name, tuple(PROPERTY_BASELINES))
    check(e.n_bootstrap >= 1, f"eval.n_bootstrap={e.n_bootstrap!r}: must be at least 1")
    for field, pattern in (
        ("data.columns", d.columns),
        ("eval.targets", e.targets),
        *(("data.losses", pattern) for pattern, _ in d.losses),
    ):
        try:
            re.compile(pattern)
        except re.error as error:
            wrong.append(f"{field}={pattern!r} is no regular expression: {error}")
    factors = [factor for pattern, factor in c.train.lr_rules if pattern == LAYER_RULE]
    check(
        factors in ([], [BASE_WIDTH / h.encoder.width]),
        f"train.lr_rules are not those of model.encoder.width={h.encoder.width}: give the width as "
        "an argument of the config file (molgps.py:width=…), or take train.lr_rules=()",
    )
    if wrong:
        raise ConfigError("the config contradicts itself:\n  " + "\n  ".join(wrong))
