"""Trained models and the folder that holds one: all that its use needs, and no screen."""
