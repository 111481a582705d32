"""What a run keeps in its workdir: checkpoints, metric files, the folder's own record."""
