"""Bounds of fusions' own options."""


def at_least(low: float, **options: float) -> None:
    """Raise ValueError for the first option below ``low``, or NaN."""
    for name, value in options.items():
        if not value >= low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
