"""MolPhenix in JAX and Flax: contrastive retrieval between cell images and molecules."""
