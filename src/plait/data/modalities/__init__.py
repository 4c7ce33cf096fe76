"""Cells to arrays: one modality per file, in numpy, without torch."""
