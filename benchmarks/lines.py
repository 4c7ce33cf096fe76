"""One line of the table of results: a claim, what was measured, and whether it holds."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

PASS, SHORT, NOT_RUN, INFORMATION = "pass", "fall short", "not run", "for information"


@dataclass(frozen=True)
class Promise:
    """A bound on the value, on value / reference, or on value - reference."""

    of: Literal["value", "ratio", "difference"]
    sign: Literal["≥", "≤", ">", "<"]
    bound: float
    unit: str = ""

    def __str__(self) -> str:
        bound = f"{self.bound:+g}" if self.of == "difference" else f"{self.bound:g}"
        return f"{self.of} {self.sign} {bound} {self.unit}".rstrip()

    def holds(self, figure: float) -> bool:
        match self.sign:
            case "≥":
                return figure >= self.bound
            case "≤":
                return figure <= self.bound
            case ">":
                return figure > self.bound
            case "<":
                return figure < self.bound


@dataclass(frozen=True)
class Line:
    """A claim.

    Attributes:
        name: a few words.
        what: what was measured, and on what.
        value: what plait reaches; None when it was never reached, or not run.
        spread: standard deviation of the value over seeds.
        reference: what it is compared with, described by `against`.
        why: the reason it was not run; empty when it was.
    """

    name: str
    what: str
    value: float | None = None
    unit: str = ""
    spread: float | None = None
    reference: float | None = None
    against: str = ""
    promise: Promise | None = None
    why: str = ""

    @property
    def ratio(self) -> float | None:
        if self.value is None or not self.reference:
            return None
        return self.value / self.reference

    @property
    def difference(self) -> float | None:
        if self.value is None or self.reference is None:
            return None
        return self.value - self.reference

    @property
    def verdict(self) -> str:
        if self.why:
            return f"{NOT_RUN} ({self.why})"
        if self.promise is None:
            return INFORMATION
        figure = getattr(self, self.promise.of)
        return PASS if figure is not None and self.promise.holds(figure) else SHORT

    def on(self, data: str) -> "Line":
        """The same line, saying which data it was measured on."""
        return replace(self, what=f"{self.what}, on {data}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Line":
        promise = told.get("promise")
        return cls(**{**told, "promise": Promise(**promise) if promise else None})


def at_least(
    bound: float, of: Literal["value", "ratio", "difference"] = "value", unit: str = ""
) -> Promise:
    return Promise(of, "≥", bound, unit)


def at_most(
    bound: float, of: Literal["value", "ratio", "difference"] = "value", unit: str = ""
) -> Promise:
    return Promise(of, "≤", bound, unit)


def more_than(bound: float, of: Literal["value", "ratio", "difference"] = "difference") -> Promise:
    return Promise(of, ">", bound)


def not_run(name: str, what: str, why: str) -> Line:
    return Line(name, what, why=why)
