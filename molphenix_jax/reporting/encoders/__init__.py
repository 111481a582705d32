"""Reports of pretrained encoders."""
