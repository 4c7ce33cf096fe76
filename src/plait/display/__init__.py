"""How results look: terminal, notebook, page, plot."""
