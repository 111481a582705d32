"""What PyTorch does of the same work, where it is installed."""
