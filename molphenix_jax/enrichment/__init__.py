"""How many wells a run's ranking would have saved on its own screen (`molphenix enrichment`)."""
