"""Bounds of fusions' own options."""


def at_least_one(**options: int) -> None:
    """Raise ValueError for the first option that is below one."""
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
