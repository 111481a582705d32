"""What people write in a cell that holds nothing, or nothing that anybody knows."""

# There is none. "." is SAS's and Stata's, "<na>" and "nat" are pandas'.
NOTHING = frozenset(
    ("", "nan", "na", "n/a", "n.a.", "<na>", "nat", "none", "null", "-", "--", ".", "_")
)
# There may be one, and nobody says which.
UNKNOWN = frozenset(
    ("?", "nd", "n.d.", "unknown", "undefined", "missing", "not available", "not determined")
    + ("not tested", "tbd", "#n/a")
)
# Compared with a cell without the blanks around it, in small letters.
MISSING = NOTHING | UNKNOWN
# What people and programs write for "not measured" among numbers.
SENTINELS = (*(-666, 99, 999, 9_999, 99_999, 999_999), *(-99, -999, -9_999, -99_999, -999_999))


def beyond(value: float, low: float, high: float) -> bool:
    """Whether a number lies so far from all others, which end at low and high, that it is none."""
    return max(low - value, value - high) > max(high - low, abs(value) / 2)
