"""Pretrains the molecule encoder (MPNN++) on properties of molecules, as MolGPS was.

    python -m molphenix_jax.main --config=configs/molgps.py --workdir=runs/molgps
    python -m molphenix_jax.main --config=configs/molgps.py:size=tiny --workdir=runs/tiny_molgps

Arguments, after a colon and separated by commas:
    labels=FILE  table with SMILES and labels (CSV or Parquet), several as A+B; without it, RDKit's
                 descriptors and fingerprints of the 3,720 built-in molecules
    size=NAME    1m (the default), 10m, 30m, 100m, 300m or 1b parameters; tiny makes six updates of
                 an encoder that learns nothing, without labels on 100 molecules
    width=N      channels of an atom, in place of the size's; learning rates follow (muP)
    start=RUN    trains the encoder of another run or model on, whose sizes it has; minimol takes
                 MiniMol's 8M parameters (`molphenix pretrained minimol`, once), at a learning rate
                 of 1e-4 and the heads at that of the config

Any field of `molphenix_jax/tasks/property_pretraining/config.py` follows as
`--config.train.steps=20000`, lists by commas (`--config.data.labels=A.csv.gz,B.parquet`). Use the
encoder afterwards with `molphenix embed`, or train it on with `configs/s2l.py:pretrained=RUN`.
Expect the error of held-back molecules for each group of labels, and with --config.eval.targets a
table beside baselines (docs/molecules.md); 3 GiB of memory for the defaults. A pass forward and
back of 1,000 molecules took one CPU core 3 s with 1m, 23 with 10m, 59 with 30m and 220 with 100m,
and so in proportion to the parameters; 2,000 updates of 256 are 512 times that. size=tiny took 63 s
of one CPU core, most of it to compile, and 1.3 GiB.
"""

from molphenix_jax.runtime.config import parse_arg
from molphenix_jax.tasks.property_pretraining import default_config


def get_config(arg: str | None = None):
    """The resolved config."""
    args = parse_arg(arg, labels=(), size="1m", width=0, start="")
    return default_config(
        labels=",".join(args.labels), size=args.size, width=args.width, start=args.start
    )
