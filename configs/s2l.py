"""MolPhenix with the S2L loss, the paper's method.

    python -m molphenix_jax.main --config=configs/s2l.py --workdir=runs/demo
    python -m molphenix_jax.main --config=configs/s2l.py:size=tiny --workdir=runs/tiny

Arguments, after a colon and separated by commas:
    wells=FILE   wells table (Parquet or CSV) or prepared screen; several as A+B, each taken for
                 what it has: tables of wells with SMILES are put below each other, a file of
                 embeddings or of compounds is put beside them by the columns that both have;
                 without it the built-in simulated screen of 3,500 molecules. Several screens have
                 names: NAME=A+NAME=B (docs/screens.md)
    molecules=A+B  feature blocks of molecules: morgan, maccs, rdkit, physchem (these four are the
                 default), morgan_chiral, minimol (MiniMol's fingerprints, after `molphenix
                 pretrained minimol`), or NAME=FILE of embeddings
    size=NAME    small (the default) serves screens of a hundred to some thousand molecules; few, of
                 as many but a smaller input and a third of the updates, serves better where unseen
                 molecules resemble none of some hundred that train; paper has heads of the paper's
                 size (38.7M parameters); tiny makes six updates of a model that learns nothing,
                 without wells on 60 built-in molecules, to see within seconds that everything goes
                 through
    encoder=mpnn a molecule encoder (MPNN++, 1M parameters) that learns beside the feature blocks,
                 minimol (MiniMol's 8M, from its weights: docs/molecules.md), or one of your own
                 (docs/contributing.md); none, the default, has the blocks alone
    pretrained=RUN  the encoder of a run of configs/molgps.py, to be trained on; implies the above
    preset=NAME  γ, ζ, k and what is similar: the paper's "fingerprint" (the default of size=paper)
                 or "molgps", "cellclip", "soft_bce"; "replicable" (of size=small): 2% of the pairs,
                 along the directions that replicates agree on, each pair with a null of its own
                 (docs/method.md §12.8); "small_screen" (of size=tiny): at its k = .98 no pair of a
                 noisy screen is similar, and S2L trains as SigLIP

Any field of `molphenix_jax/tasks/align/config.py` follows as `--config.data.folds=5`, lists by
commas (`--config.eval.psi=0.05,0.1`). Expect on the built-in screen what docs/results.md has. From
wells to report it took 131 s of one CPU core and 1.7 GiB of memory (size=small; half of it prepares
the screen, which the cache keeps for all configs); size=tiny took 21 s and 0.9 GiB.
"""

from molphenix_jax.tasks.align.config import config_from_arg


def get_config(arg: str | None = None):
    """The resolved config."""
    return config_from_arg(arg, loss="s2l")
