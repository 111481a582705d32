"""Benchmarks: what `molphenix bench` measures."""
