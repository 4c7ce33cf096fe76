"""Fusion methods against each other, on one table, all else being equal.

`compare.py` is what a user calls; `data.py` prepares the table once; `jobs.py` starts the runs;
`run.py` is one run, a process of its own; `stats.py` and `rows.py` make figures of them; `page.py` and
`screen.py` show them. The package is not called ``compare``, since ``plait.compare`` is the function.
"""
