"""Child process: pictures through a frozen encoder into an empty store, to see what memory it takes.

Takes one JSON argument, ``folder`` (with ``train.csv``) and ``encoders``, and prints one JSON line.
"""

import json
import sys
from pathlib import Path

from benchmarks.data import Source
from benchmarks.ready import laid
from plait.data.store import Store
from plait.devices import compute_threads, torch_threads


def main() -> None:
    told = json.loads(sys.argv[1])
    source = Source(Path(told["folder"]), "pictures", "label", {"encoders": told["encoders"]})
    with torch_threads(compute_threads()):
        table, frozen = laid(source, Store())
        encoded = frozen.encode(table.prepared, store=Store())
    (column,) = encoded.columns.values()
    print(json.dumps({"cells": int(column.present.sum()), "tokens": len(column.values)}))


if __name__ == "__main__":
    main()
