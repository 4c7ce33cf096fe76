"""Every error that plait raises on purpose, one class per kind.

Every message says what was passed, what was expected and how to fix it. The command line prints the
message alone; a stack trace shown to a user is a bug.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile


class PlaitError(Exception):
    """Base class of every error that plait raises on purpose."""


class TableError(PlaitError):
    """A table cannot be opened, or lacks what the task needs."""


class SchemaError(PlaitError):
    """Columns, roles or targets contradict each other or the data."""


class CellError(PlaitError):
    """One cell cannot be read. It counts as missing and is listed in the quarantine."""


class UnreadableColumnError(PlaitError):
    """More of a column is unreadable than the user allows, so training stops."""


class TrainError(PlaitError):
    """Training cannot continue, for example because the loss is not finite."""


class StoreError(PlaitError):
    """The store of prepared columns cannot be read or written."""


class AlignError(PlaitError, ValueError):
    """An argument of plait.align has the wrong shape or type."""


class CheckpointError(PlaitError):
    """A pretrained checkpoint cannot be found, or holds something that must not or cannot be loaded."""


class BundleError(PlaitError):
    """A bundle cannot be saved, or is damaged, too new, or holds a file that is not allowed."""


class UnregisteredError(BundleError):
    """A saved model was made with a part that is not registered here."""


class ExportError(PlaitError):
    """A model cannot be exported, or the exported model gives different answers."""


class CompressError(PlaitError):
    """A model cannot be made as small as asked, or costs more than allowed."""


class ConfigError(PlaitError):
    """Options that do not exist or have wrong values, all reported together."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = f"{counted(count, 'option is', 'options are')} wrong:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


class MissingExtra(PlaitError):
    """An optional package is needed and not installed."""

    def __init__(self, feature: str, extra: str, package: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed.\n"
            f'Install it with:  pip install "plait[{extra}]"'
        )


_TRAINING = frozenset({"torch", "accelerate", "pyarrow", "safetensors", "sklearn", "tensorboard"})


def training_extra(error: ImportError) -> MissingExtra | None:
    """What to install if a package that only fitted models need is missing; None for any other."""
    name = (error.name or "").partition(".")[0]
    return MissingExtra("a fitted model", "train", name) if name in _TRAINING else None


class PlaitWarning(UserWarning):
    """Base class of every warning that plait gives."""


class UnreadableCellsWarning(PlaitWarning):
    """Cells were unreadable and were treated as missing."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when a choice is close to ``name``, else an empty string."""
    plain = {choice.lower(): choice for choice in choices}
    close = get_close_matches(name.lower(), plain, n=3, cutoff=0.6)

    def likeness(choice: str) -> tuple[float, int]:
        same = SequenceMatcher(None, choice, name.lower()).ratio()
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(choice, name.lower(), strict=False))
        return same, len(list(alike))  # lable: label before table

    return f" Did you mean '{plain[max(close, key=likeness)]}'?" if close else ""


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """The sentence for a name that is not among the choices."""
    known = sorted(choices)
    return f"unknown {kind} '{name}'.{suggest(name, known)} Choose from: {', '.join(known)}."


def check_keywords(given: Iterable[str], choices: Iterable[str]) -> None:
    """Refuse keywords that a function which gathers them does not know, as Python would.

    Raises:
        TypeError: naming the first of them and the choices.
    """
    for name in given:
        if name not in choices:
            raise TypeError(unknown("keyword", name, choices))


def counted(count: int, noun: str = "row", plural: str = "") -> str:
    """``1 row``, ``1,200 rows``; ``plural`` where it is not the noun with an s: ``texts are``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def all_of(count: int, noun: str = "row") -> str:
    """``all 24 rows``; of one alone, ``the only row``."""
    return f"the only {noun}" if count == 1 else f"all {counted(count, noun)}"


def shortened(text: str, most: int = 200) -> str:
    """Text of at most so many characters, an ellipsis where it was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str, most: int = 80) -> str:
    """Text from outside, safe to repeat in a message: one line, short, nothing unprintable."""
    return shortened("".join(c if c.isprintable() else "·" for c in text[: most + 1]), most)


def error_line(error: BaseException, most: int = 200) -> str:
    """What an exception says on one line, for a sentence to end with; its kind if it says nothing.

    Of the system's errors the words alone, without number and path.
    """
    words = str(getattr(error, "strerror", None) or error)
    first = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return shortened(first, most).rstrip(". ") or type(error).__name__
