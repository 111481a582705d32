"""MolPhenix in JAX and Flax: contrastive retrieval between cell images and molecules."""

from molphenix_jax.parts import register

__all__ = ["register"]


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is asked for."""
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("molphenix-jax")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
