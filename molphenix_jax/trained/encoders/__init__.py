"""Encoders alone in a model folder: of molecules, of images; whoever made them."""
