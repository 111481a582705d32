"""What an alignment's config has to hold, field by field."""

from molphenix_jax.errors import InputError
from molphenix_jax.evaluation import BASELINES, UNTRAINED
from molphenix_jax.losses import LOSSES, make_loss
from molphenix_jax.models import CONCENTRATIONS, HEADS
from molphenix_jax.molecules import FINGERPRINTS
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import ConfigError, listed
from molphenix_jax.runtime.mesh import PLACEMENTS
from molphenix_jax.screens.sampling import AVERAGING
from molphenix_jax.tasks.align.config import encoders, loss_options, simulation_config
from molphenix_jax.tasks.molecule_encoder import check_encoder
from molphenix_jax.tasks.named_screens import named_screens, rows_of

# Bytes of a trained parameter: itself, its gradient and two moments, in float32.
_TRAINED = 16


def check(checks: Checks) -> None:
    """Notes every field that is wrong, with the remedy."""
    _data(checks)
    if not checks.config.data.wells:
        _simulated(checks)
    _molecules(checks)
    _loss(checks)
    checks.least("train.batch_size", 2, "a contrastive loss needs two pairs")
    _model(checks)
    _evaluation(checks)


def _data(checks: Checks) -> None:
    checks.choice("data.correction", ("none", "centerscale", "pca_cs", "tvn"))
    checks.choice("data.group_by", ("auto", "plate", "batch"))
    checks.choice("data.undefined_p", ("active", "inactive"))
    checks.choice("data.split", ("scaffold", "butina", "plate", "batch"))
    checks.choice("data.averaging", AVERAGING)
    checks.choice("data.placement", PLACEMENTS)
    checks.within("data.psi", 0, 1, above=True)
    checks.within("data.keep_inactive", 0, 1)
    checks.within("data.test_fraction", 0, 0.5, above=True)
    checks.within("data.validation_fraction", 0, 0.5, above=True)
    checks.within("data.unseen_images_fraction", 0, 0.9)
    if checks.config.data.refit_of:
        _refit(checks)
    elif checks.config.data.split_list:
        folds = checks.value("data.folds")
        checks.that(folds == 1, f"data.folds={folds!r}: a list (data.split_list) is one split")
        times = checks.value("data.repeats")
        checks.that(times == 1, f"data.repeats={times!r}: a list (data.split_list) is one split")
    _several(checks)
    checks.within("data.butina_cutoff", 0, 1, above=True)
    checks.least("data.clip", 0, "must be 0 (off) or positive")
    checks.least("data.folds", 1, "must be 1 (a single split) or more")
    checks.least("data.repeats", 1)
    checks.least("data.device_memory_gib", 0, "must be positive, or 0 to ask the device")
    checks.least("data.max_replicates", 1)
    n_null = checks.value("data.n_null")
    checks.that(
        100 <= n_null <= 1_000_000,
        f"data.n_null={n_null!r}: from 100, below which no p-value reaches 0.01, to 1,000,000",
    )


def _several(checks: Checks) -> None:
    try:
        several = bool(named_screens(checks.config.data.wells))
        rows_of(checks.config)
    except ConfigError as error:
        checks.that(False, str(error))
        return
    checks.that(
        not (several and checks.config.eval.unseen_screens),
        "eval.unseen_screens: several screens have features each, and none to read another screen "
        "by; leave it out",
    )
    head = checks.config.model.molecules.head
    checks.that(
        not several or head == "residual",
        f"model.molecules.head={head!r}: several screens share the first layer of residual",
    )


def _refit(checks: Checks) -> None:
    for field, empty, why in (
        ("data.folds", 1, "has one model"),
        ("data.split_list", "", "holds back no molecule"),
        ("data.repeats", 1, "has one model"),
        ("eval.heldout_concentrations", (), "holds back no dose"),
        ("eval.baselines", "", "holds back no validation molecules to choose baselines on"),
    ):
        value = checks.value(field)
        checks.that(value == empty, f"{field}={value!r}: a refit (data.refit_of) {why}")


def _simulated(checks: Checks) -> None:
    try:
        simulation_config(checks.config).need_memory()
    except InputError as error:
        sentence = str(error)
        checks.that(False, f"data.simulated.{sentence.removeprefix('data.simulated.')}")


def _molecules(checks: Checks) -> None:
    m = checks.config.molecules
    checks.that(
        bool(m.blocks or m.embeddings or m.encoder != "none"),
        "molecules.blocks and molecules.embeddings are both empty and molecules.encoder is none: "
        "the molecule tower has no input",
    )
    for block in listed(m.blocks):
        checks.choice("molecules.blocks", FINGERPRINTS, block)
    for entry in listed(m.embeddings):
        name, _, file = entry.partition("=")
        checks.that(
            bool(name and file) and name not in FINGERPRINTS,
            f"molecules.embeddings={entry!r}: give name=FILE, with a name that is no block's",
        )
    checks.choice("molecules.encoder", encoders())
    checks.that(
        m.encoder not in listed(m.blocks),
        f"molecules.blocks: {m.encoder} is the input of molecules.encoder={m.encoder}; name it "
        "there alone",
    )
    checks.that(
        m.encoder == "mpnn" or not m.pretrained,
        f"molecules.pretrained is set but molecules.encoder={m.encoder}; take s2l.py:encoder=mpnn",
    )
    if m.start_from:
        _start(checks)
    checks.within("molecules.max_atoms", 1, 1024)
    if m.encoder == "mpnn":
        check_encoder(checks, "model.encoder")


def _start(checks: Checks) -> None:
    m, h = checks.config.molecules, checks.config.model
    checks.that(
        not m.pretrained,
        "molecules.pretrained: molecules.start_from has the encoder's weights too; leave one out",
    )
    checks.that(
        h.molecules.head == "residual",
        f"model.molecules.head={h.molecules.head!r}: molecules.start_from needs residual, whose "
        "first layer is told what each input is",
    )
    encoding = h.concentration
    checks.that(
        encoding not in CONCENTRATIONS or encoding == "none" or CONCENTRATIONS[encoding].new_doses,
        f"model.concentration={encoding}: has nothing for doses that the run of "
        "molecules.start_from lacks; set log or sigmoid in both runs",
    )


def _loss(checks: Checks) -> None:
    s = checks.config.loss
    checks.choice("loss.name", LOSSES)
    checks.choice("loss.execution", ("dense", "chunked", "ring"))
    checks.least("loss.chunk_size", 0, "must be 0 (chosen) or positive")
    checks.that(
        s.execution != "dense" or s.chunk_size <= 0,
        "loss.chunk_size is set but loss.execution=dense uses no chunks",
    )
    if s.name in LOSSES:
        try:
            make_loss(s.name, **loss_options(checks.config))
        except ValueError as error:
            checks.that(False, f"loss.options.{s.name}: {error}")
    checks.choice("loss.null_constant", ("squared", "literal"))
    checks.choice("loss.similarity_from", ("profile", "sample"))
    checks.within("loss.replicate_correlation", 0, 1, below=True)
    checks.within("loss.soft_share", 0, 0.5)
    known = s.name in LOSSES
    checks.that(
        not (known and s.replicate_correlation > 0 and not LOSSES[s.name].compares_w),
        f"loss.replicate_correlation={s.replicate_correlation!r}: {s.name} compares no profiles; "
        "leave it at 0",
    )
    checks.that(
        s.soft_share <= 0 or s.name == "s2l",
        f"loss.soft_share={s.soft_share!r}: it sets the threshold k of s2l; {s.name} has none, "
        "leave it at 0",
    )


def _model(checks: Checks) -> None:
    for tower in ("model.phenomics", "model.molecules"):
        checks.choice(f"{tower}.head", HEADS)
        for field, low in (("width", 1), ("n_blocks", 0), ("components", 0)):
            checks.least(f"{tower}.{field}", low, f"at least {low}")
        checks.deep(f"{tower}.n_blocks")
        for field in ("input_dropout", "dropout"):
            checks.within(f"{tower}.{field}", 0, 0.95)
        checks.within(f"{tower}.whiten", 0, 1)
    checks.least("model.dim", 1)
    h, members = checks.config.model, checks.config.train.members
    for tower in ("phenomics", "molecules"):
        t = h[tower]
        # A block has two products, to twice the width and back. How wide the input is, is known
        # later: the loop counts all before it begins.
        n = t.width * (t.components + 4 * t.width * t.n_blocks + h.dim)
        told = f"{n:,} parameters (n_blocks={t.n_blocks}, model.dim={h.dim}) × {members:,} members"
        field = f"model.{tower}.width" if t.width >= max(members, h.dim) else "model.dim"
        field = "train.members" if members > max(t.width, h.dim) else field
        checks.memory(field, f"training {told}", _TRAINED * n * members)
    checks.positive("model.scale_init")
    checks.choice("model.concentration", CONCENTRATIONS)


def _evaluation(checks: Checks) -> None:
    e, encoding = checks.config.eval, checks.config.model.concentration
    checks.that(
        not e.heldout_concentrations
        or encoding not in CONCENTRATIONS
        or encoding == "none"  # told of no dose, the model has nothing to be wrong about
        or CONCENTRATIONS[encoding].new_doses,
        f"eval.heldout_concentrations: model.concentration={encoding} has nothing for a "
        "dose that training lacks; set log or sigmoid",
    )
    checks.that(
        len(set(e.psi)) == len(e.psi)
        and all(isinstance(p, int | float) and 0 < p <= 1 for p in e.psi),
        f"eval.psi={tuple(e.psi)}: distinct values in (0, 1]",
    )
    checks.within("eval.toxic_below", 0, 1)
    checks.within("eval.n_bootstrap", 1, 100_000)
    checks.least("eval.validation_pairs", 2, "recall needs two pairs")
    checks.that(
        all(isinstance(dose, int | float) and dose > 0 for dose in e.heldout_concentrations),
        f"eval.heldout_concentrations={tuple(e.heldout_concentrations)}: must be positive, in µM",
    )
    for name in listed(e.baselines):
        checks.choice("eval.baselines", (*BASELINES, UNTRAINED), name)
