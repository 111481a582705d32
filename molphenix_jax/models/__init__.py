"""Flax Linen modules: residual heads, concentration encodings, the two-tower model."""
