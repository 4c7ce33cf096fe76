"""A fitted model: it answers, fills, explains and saves."""
