"""Where a model fails, what its data hold, and whether two tables are alike: numbers, no pages."""
