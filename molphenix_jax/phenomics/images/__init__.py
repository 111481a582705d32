"""Crops and intensities of images."""
