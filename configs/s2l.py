"""MolPhenix with the S2L loss, the paper's method.

    python -m molphenix_jax.main --config=configs/s2l.py --workdir=runs/demo

Arguments, after a colon and separated by commas:
    wells=FILE   wells table (Parquet or CSV); without it the built-in simulated screen
    size=paper   heads of the paper's size (38.7M parameters); the default, small, serves screens
                 of a hundred to some thousand molecules
    preset=NAME  γ, ζ and k: the paper's "fingerprint" (the default with size=paper) or "molgps",
                 "cellclip", "soft_bce", or "small_screen" (the default otherwise)
    encoder=mpnn a molecule encoder (MPNN++, 1M parameters) that learns beside the feature blocks
    pretrained=RUN  the encoder of a run of configs/molgps.py, to be trained on; implies the above

Any field of `molphenix_jax/tasks/align/config.py` follows as `--config.data.folds=5`.
"""

from molphenix_jax.losses import S2L_PRESETS
from molphenix_jax.models.mpnn import mup_lr_rules
from molphenix_jax.runtime.config import ConfigError, parse_arg
from molphenix_jax.tasks.align.config import default_config
from molphenix_jax.tasks.molecule_encoder import encoder_fields_of


def get_config(arg: str | None = None):
    """The resolved config."""
    args = parse_arg(arg, wells="", size="small", preset="", encoder="none", pretrained="")
    encoder = "mpnn" if args.pretrained else args.encoder
    config = default_config(wells=args.wells, size=args.size, encoder=encoder)
    if args.pretrained:
        config.molecules.pretrained = args.pretrained
        config.model.encoder.update(encoder_fields_of(args.pretrained))
        config.train.lr_rules = mup_lr_rules(config.model.encoder.width, prefix="/encoder")
    if args.preset:
        if args.preset not in S2L_PRESETS:
            raise ConfigError(f"preset={args.preset!r}: choose one of {', '.join(S2L_PRESETS)}")
        config.loss.options.s2l.update(S2L_PRESETS[args.preset])
    return config
