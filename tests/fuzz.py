"""How many examples a property is tried on: as many in every run of `make test`, more in `make fuzz`."""

import os

import hypothesis

FACTOR = int(os.environ.get("PLAIT_FUZZ", "1"))


def examples(count: int) -> int:
    """The number for `max_examples`."""
    return count * FACTOR


def register() -> None:
    """The same examples for the same commit; `make fuzz` draws others each time and keeps what it finds.

    What it finds becomes an `@example` of the test, as `make test` reads no database.
    """
    steady = FACTOR == 1
    more = {"database": None} if steady else {}
    hypothesis.settings.register_profile(
        "plait",
        max_examples=examples(100),
        derandomize=steady,
        deadline=None,
        print_blob=not steady,
        **more,
    )
    hypothesis.settings.load_profile("plait")
