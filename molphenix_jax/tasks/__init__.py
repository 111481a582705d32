"""What a run learns; a task joins data, model, loss and evaluation for the one loop."""
