"""Every module below a folder with the first line of its docstring: the map of the house."""

import ast
import sys
from pathlib import Path


def lines(folder: Path, depth: int = 0) -> list[str]:
    """One line per file, folders first named by their ``__init__.py``."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        indent = "  " * depth
        if path.suffix == ".py":
            found.append(f"{indent + path.name:<34} {_first_line(path)}")
        elif (path / "__init__.py").exists():
            found += [f"{indent}{path.name}/", *lines(path, depth + 1)]
    return found


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    print("\n".join(lines(Path(sys.argv[1]))))
