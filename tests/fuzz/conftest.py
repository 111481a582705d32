"""Counts of the fuzz cases: how many of each family are valid, were read, or were refused."""

import collections
from collections.abc import Callable
from typing import Any

import pytest

from molphenix_jax.errors import InputError

VALID, DAMAGED = "valid", "damaged"


@pytest.fixture
def attempt(record_property) -> Callable[..., Any]:
    """Tries what a case is about: its result, or None after an InputError.

    A valid case is never refused. Anything but a result or an InputError fails.
    """

    def run(kind: str, function: Callable[[], Any]) -> Any:
        record_property("kind", kind)
        try:
            found = function()
        except InputError as error:
            if kind == VALID or not str(error).strip():
                raise
            record_property("outcome", "refused")
            return None
        record_property("outcome", "read")
        return found

    return run


def pytest_terminal_summary(terminalreporter) -> None:
    """A line for each family, where its cases ran."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for report in (r for of in terminalreporter.stats.values() for r in of):
        told = dict(getattr(report, "user_properties", ()))
        if getattr(report, "when", "") != "call" or "kind" not in told:
            continue
        outcome = told.get("outcome", "else") if report.passed else "else"
        family = report.nodeid.split("::")[0].rpartition("test_")[2].removesuffix(".py")
        counts[family].update(("cases", told["kind"], outcome))
    for family, of in sorted(counts.items()):
        terminalreporter.write_line(
            f"fuzz {family}: {of['cases']:,} cases, {of[VALID] / of['cases']:.0%} valid; "
            f"read {of['read']:,}, refused {of['refused']:,}, anything else {of['else']:,}"
        )
