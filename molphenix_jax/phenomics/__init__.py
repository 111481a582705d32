"""Wells to corrected, averaged profiles with a replicate-consistency p-value."""
