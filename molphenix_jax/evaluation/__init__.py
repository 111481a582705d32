"""Ranks, recall, confidence intervals, protocol and baselines; knows arrays only."""
