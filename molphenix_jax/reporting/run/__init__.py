"""The page of a finished run of the alignment."""
