"""Batch size (paper T15), at matched samples seen: half the batch, twice the updates.

molphenix ablate batch_size --tier=small --workdir=runs/ablations
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L

BATCHES = {"smoke": (8, 16, 32), "full": (128, 256, 512, 1024, 2048)}
_OTHERS = (64, 128, 256, 512)
# Batch size × updates of the tier's own schedule.
SAMPLES = {"smoke": 6 * 32, "small": 300 * 256, "decide": 3_000 * 256, "full": 20_000 * 512}


def get_ablation(tier: str) -> Ablation:
    """The grid; the batches suit the tier."""
    sizes = BATCHES.get(tier, _OTHERS)
    rows = []
    for size in sizes:
        steps = SAMPLES[tier] // size
        schedule = {
            "train.batch_size": size,
            "train.steps": steps,
            "train.warmup_steps": steps // 10,
            "train.log_every": max(steps // 15, 1),
            "train.validate_every": max(steps // 6, 1),
            "train.checkpoint_every": max(steps // 3, 1),
        }
        rows.append(Row(f"batch_{size}", f"{size:,}", schedule, arg=PAPER_S2L))
    names = [row.name for row in rows]
    return Ablation(
        title="Batch size at matched samples seen",
        paper="T15, Fig. 5",
        rows=rows,
        reference=names[0],
        claims=[
            Claim(
                "A larger batch is better",
                "lost",
                tuple(zip(names[1:], names[:-1], strict=True)),
                reading="One learning rate for all sizes; that it suits one of them best is open.",
            ),
        ],
    )
