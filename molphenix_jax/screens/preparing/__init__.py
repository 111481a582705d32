"""Wells to a screen on disk, in stages that Beam spreads out."""
