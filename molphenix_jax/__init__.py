"""MolPhenix in JAX and Flax: contrastive retrieval between cell images and molecules."""

from typing import TYPE_CHECKING, Any

from molphenix_jax.parts import register

if TYPE_CHECKING:
    from molphenix_jax.retrieval import Model, load, rank

    __version__: str

__all__ = ["Model", "__version__", "load", "rank", "register"]


def __getattr__(name: str) -> Any:
    """The public names, looked up when they are asked for: importing the package stays cheap."""
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("molphenix-jax")
    if name in ("Model", "load", "rank"):
        from molphenix_jax import retrieval

        return getattr(retrieval, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
