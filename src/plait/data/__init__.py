"""A table's cells as arrays; no torch."""
