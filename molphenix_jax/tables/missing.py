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
