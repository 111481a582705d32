"""What is wrong with a config, collected: a sentence for each field, before any work."""

from collections.abc import Iterable
from typing import Any

from molphenix_jax.memory import beyond_memory
from molphenix_jax.runtime.config import Config, ConfigError

# Layers on top of each other; the deepest network of the sources has 48.
DEEPEST = 256


class Checks:
    """Collects sentences about the fields of a config, which are named with dots (`data.psi`)."""

    def __init__(self, config: Config):
        """Begins without any."""
        self.config = config
        self.problems: list[str] = []

    def value(self, field: str) -> Any:
        """What the config has there."""
        value = self.config
        for name in field.split("."):
            value = value[name]
        return value

    def that(self, holds: bool, sentence: str) -> None:
        """Notes a sentence where something does not hold."""
        if not holds:
            self.problems.append(sentence)

    def choice(self, field: str, options: Iterable[str], value: Any = None) -> None:
        """The field, or this part of it, is one of some options."""
        options = tuple(options)
        value = self.value(field) if value is None else value
        self.that(value in options, f"{field}={value!r}: choose one of {', '.join(options)}")

    def least(self, field: str, low: float, meaning: str = "") -> None:
        """The field is at least so much."""
        told = meaning or ("must not be negative" if low == 0 else f"must be at least {low}")
        self.that(self.value(field) >= low, f"{field}={self.value(field)!r}: {told}")

    def positive(self, field: str) -> None:
        """The field is above 0."""
        self.that(self.value(field) > 0, f"{field}={self.value(field)!r}: must be positive")

    def within(
        self, field: str, low: float, high: float, *, above: bool = False, below: bool = False
    ) -> None:
        """The field is from one bound to another.

        Args:
            field: Which.
            low: The least value; with `above` it has to be more.
            high: The greatest value; with `below` it has to be less.
            above: See there.
            below: See there.
        """
        value = self.value(field)
        holds = (low < value if above else low <= value) and (
            value < high if below else value <= high
        )
        self.that(
            holds,
            f"{field}={value!r}: {'above' if above else 'at least'} {low:,}, "
            f"{'below' if below else 'at most'} {high:,}",
        )

    def deep(self, field: str) -> None:
        """The field is a number of layers that can be compiled."""
        depth = self.value(field)
        self.that(
            depth <= DEEPEST,
            f"{field}={depth!r}: at most {DEEPEST}; each layer is compiled by itself, so many more "
            "would not begin to train within hours",
        )

    def memory(self, field: str, what: str, n_bytes: float) -> None:
        """What a field asks for is no more than the memory of this process.

        Args:
            field: Which.
            what: That needs the memory.
            n_bytes: How much at least.
        """
        told = beyond_memory(n_bytes)
        self.that(told is None, f"{field}={self.value(field)!r}: {what} would need {told}")

    def stop(self) -> None:
        """Ends with all sentences, if there are any.

        Raises:
            ConfigError: There are.
        """
        if self.problems:
            raise ConfigError("the config cannot be used:\n  " + "\n  ".join(self.problems))
