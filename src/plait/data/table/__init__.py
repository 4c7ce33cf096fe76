"""Rows in: open any table, say what its columns are, split it, list what cannot be read.

Works on Arrow and numpy; knows no torch. Import the files, not this package:
``from plait.data.table.source import open_table``.
"""
