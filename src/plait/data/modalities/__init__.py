"""Cells to arrays: one modality a file, in numpy, without torch."""
