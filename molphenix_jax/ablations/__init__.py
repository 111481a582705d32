"""Tables and figures of the paper as grids: rows × seeds, run, compared and judged.

grid       what a file of `configs/ablations/` says, and the config of each of its runs
running    the runs, one after the other or in parts; what is finished is left alone
judging    from the ranks that the runs kept to means, paired differences and verdicts
page       docs/reproduction.md from the tables: each claim of the paper, judged
"""

from molphenix_jax.ablations.grid import Ablation, Claim, Row

__all__ = ["Ablation", "Claim", "Row"]
