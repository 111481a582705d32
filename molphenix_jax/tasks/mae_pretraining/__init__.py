"""Masked autoencoder on images: config, run, evaluation, and the encoder that comes out."""
