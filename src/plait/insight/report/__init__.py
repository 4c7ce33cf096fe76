"""One page that says what a model does, what it rests on, where it fails, and how far to trust it."""
