"""Contrastive losses as pure functions of embeddings (paper section 3)."""
