"""Training steps compiled for pods of TPUs on a machine that has none: `molphenix compile`."""
