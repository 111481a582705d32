"""Several screens at once: one molecule side, a phenomic side for each screen."""
