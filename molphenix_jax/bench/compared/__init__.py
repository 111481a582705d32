"""What the benchmarks measure ours beside: PyTorch, other libraries, what most code does."""
