"""What models say, and how good it is; no torch."""
