"""What every task shares: mesh, checkpoints, metric files, progress, configs."""
