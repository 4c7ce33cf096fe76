"""One fit: from a table to a model that has learnt."""
