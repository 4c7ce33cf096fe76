"""The demo: its table, its voices, its run."""
