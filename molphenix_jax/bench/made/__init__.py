"""Data of stated size that the benchmarks make for themselves."""
