"""How Sphinx builds these pages."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "plait"
author = "the plait maintainers"
project_copyright = "the plait maintainers"
release = version = installed("plait")

extensions = ["myst_parser", "api_table", "option_table"]
exclude_patterns = ["_build", "_ext"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "plait"
html_copy_source = False
