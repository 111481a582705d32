"""Annotations of arrays, checked at each call: shapes, and names of sizes that have to agree."""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that beartype checks where it takes or returns arrays; for jaxtyping's hook.

    Other types are pyright's, which knows protocols without calling their properties.
    """
    arrays = {name: hint for name, hint in function.__annotations__.items() if is_checked(hint)}
    if not arrays:
        return function
    function.__annotations__ = arrays
    return beartype.beartype(function)


def is_checked(hint: Any) -> bool:
    """Whether an annotation says something of an array, and nothing that cannot be checked."""
    leaves = list(_leaves(hint))
    protocol = any(getattr(leaf, "_is_protocol", False) for leaf in leaves)
    return not protocol and any(
        inspect.isclass(leaf) and issubclass(leaf, jaxtyping.AbstractArray) for leaf in leaves
    )


def _leaves(hint: Any):
    arguments = typing.get_args(hint)
    if not arguments or typing.get_origin(hint) is typing.Literal:
        yield hint
    elif isinstance(arguments, tuple):
        for argument in arguments:
            yield from _leaves(argument)
