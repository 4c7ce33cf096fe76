"""Models that others trained: found, checked, and run as encoders of one modality."""
