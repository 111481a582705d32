"""Commands about training: runs made, fitted again, compared, given away."""
