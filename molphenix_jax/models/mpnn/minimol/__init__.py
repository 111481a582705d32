"""MiniMol, a molecule encoder that others have pretrained: its network and its weights."""
