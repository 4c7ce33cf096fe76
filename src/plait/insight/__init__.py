"""What a model does, rests on, and fails at."""
