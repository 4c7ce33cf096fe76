"""``python -m plait`` is the same as ``plait``."""

from plait.cli.main import main

main()
