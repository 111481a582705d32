"""The prepared data set: from wells to perturbations with profiles, splits, sampling."""
