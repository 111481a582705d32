"""Every field of a property-pretraining run, with its default and what it may hold."""

import re

import ml_collections

from molphenix_jax.evaluation import PROPERTY_BASELINES
from molphenix_jax.models.mpnn import BASE_WIDTH, LAYER_RULE, mup_lr_rules, property_lr_rules
from molphenix_jax.molecules import FINGERPRINTS
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import Config, ConfigError, listed, pair_problems
from molphenix_jax.runtime.optimizer import train_fields
from molphenix_jax.runtime.processes import runtime_fields
from molphenix_jax.tasks.molecule_encoder import check_encoder, encoder_fields, start_encoder
from molphenix_jax.tasks.property_pretraining.labels import LOSSES

PATHS = {"data.labels": "paths", "data.cache": "path", "model.pretrained": "path"}


def default_config(
    *, labels: str = "", size: str = "1m", width: int = 0, start: str = ""
) -> Config:
    """The config of a property-pretraining run.

    Args:
        labels: Label tables, separated by commas; empty learns what RDKit computes for the
            built-in molecules (`molecules/chembl/`).
        size: Named size of the encoder.
        width: Of the encoder, in place of that size's; the learning rates follow it (muP).
        start: Run or model whose encoder is trained on, or minimol; it brings its sizes.

    Raises:
        ConfigError: An unknown size, or a start beside a size; no run is there.
        ModelError: The model of the start cannot be used; MiniMol is not there yet.
    """
    if start and (width or size != "1m"):
        raise ConfigError(f"start={start} brings its sizes: leave size and width out")
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
    d.split_seed = 0  # which molecules are held back; `seed` has initialisation and batches
    d.butina_cutoff = 0.4
    d.test_fraction = 0.2
    d.validation_fraction = 0.1  # of what is not test

    d.n_computed = 100 if tiny else 0  # without labels: of the built-in molecules, 0 for all

    c.model = h = ml_collections.ConfigDict()
    h.encoder = encoder_fields(size)
    h.encoder.width = width or h.encoder.width
    h.pretrained = ""  # run or model that the encoder's weights are taken from
    # Feature blocks that the heads see beside the graph's embedding.
    h.head_blocks = ""
    h.head_width = 16 if tiny else 256  # of the MLP in front of each head; 0: linear heads
    h.head_dropout = 0.0

    steps, batch_size = (6, 32) if tiny else (2_000, 256)
    c.train = t = train_fields(steps=steps, batch_size=batch_size, learning_rate=1e-3)
    t.weight_decay = 0.01
    t.lr_rules = mup_lr_rules(h.encoder.width)
    if start:
        h.pretrained = start_encoder(c, start, prefix="/encoder")
    t.lr_rules = property_lr_rules(h.encoder.width, h.encoder.out_width, t.lr_rules)

    c.runtime = runtime_fields()
    c.eval = e = ml_collections.ConfigDict()
    # Regular expression of labels that are evaluated beside baselines; this one matches none.
    e.targets = "(?!)"
    e.baselines = ",".join(PROPERTY_BASELINES)
    # Molecules that leave less than this share of the controls' cells are toxic; where a label
    # table counts cells, labels of two kinds are asked among the others, too.
    e.toxic_below = 0.5
    e.n_bootstrap = 200
    return c


def check(checks: Checks) -> None:
    """Notes every field that is wrong, with the remedy."""
    d, h, e, t = (checks.config[part] for part in ("data", "model", "eval", "train"))
    rules = pair_problems("data.losses", d.losses, str)
    checks.problems += rules
    checks.choice("data.split", ("scaffold", "butina"))
    checks.within("data.butina_cutoff", 0, 1, above=True)
    checks.within("data.max_atoms", 1, 1024)
    for name in ("test_fraction", "validation_fraction"):
        checks.within(f"data.{name}", 0, 0.5, above=True)
    checks.least("data.n_computed", 0, "positive, or 0 for all")
    if not d.labels:
        for block in listed(d.computed):
            checks.choice("data.computed", FINGERPRINTS, block)
        checks.that(bool(listed(d.computed)), "data.labels and data.computed are both empty")
    check_encoder(checks, "model.encoder")
    for block in listed(h.head_blocks):
        checks.choice("model.head_blocks", FINGERPRINTS, block)
    checks.least("model.head_width", 0)
    checks.within("model.head_dropout", 0, 1, below=True)
    for name in listed(e.baselines):
        checks.choice("eval.baselines", PROPERTY_BASELINES, name)
    checks.within("eval.toxic_below", 0, 1)
    checks.within("eval.n_bootstrap", 1, 100_000)
    for _, loss in () if rules else d.losses:
        checks.choice("data.losses", LOSSES, loss)
    for field, pattern in (
        ("data.columns", d.columns),
        ("eval.targets", e.targets),
        *(("data.losses", pattern) for pattern, _ in (() if rules else d.losses)),
    ):
        try:
            re.compile(pattern)
        except re.error as error:
            checks.that(False, f"{field}={pattern!r} is no regular expression: {error}")
    if not pair_problems("train.lr_rules", t.lr_rules, (int, float)):
        factors = [factor for pattern, factor in t.lr_rules if pattern == LAYER_RULE]
        checks.that(
            not factors or factors == [BASE_WIDTH / (h.encoder.width or 1)],
            f"train.lr_rules are not those of model.encoder.width={h.encoder.width}: give the "
            "width as an argument of the config (molgps:width=…), or take train.lr_rules=()",
        )
