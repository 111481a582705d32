"""The built-in screen, whose true effects are known."""
