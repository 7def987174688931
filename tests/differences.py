"""Where Mayfly's operations differ from Amazon's models on purpose: a pattern of referee.py's lines, and the reason."""

DIFFERENCES = {}
