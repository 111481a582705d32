"""Which columns make up a profile, and how they become rows of a matrix."""
