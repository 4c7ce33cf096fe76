"""Parts by the word that users write: plait's own, those a program registers, those of packages."""

import inspect
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from plait.errors import ConfigError, PlaitWarning, UnregisteredError, printable

Part = TypeVar("Part")


class Registry(MutableMapping[str, Part], Generic[Part]):
    """A dictionary of parts in which installed packages can put theirs.

    A package names its parts as entry points of the group; what an entry point names is imported when
    somebody asks for that word, or lists them all. A name from a file, such as that of a bundle, is only
    ever looked up here: it cannot say what is imported. A part that cannot be loaded is an error if
    it is asked for by name; lists leave it out, with one warning.

    Args:
        kind: what a part is, for messages: ``fusion``.
        parts: plait's own. No package can replace one of them.
        group: of the entry points: ``plait.fusions``.
        problem: what is wrong with a part, as a sentence; empty: nothing.
    """

    def __init__(
        self, kind: str, parts: dict[str, Part], *, group: str, problem: Callable[[object], str]
    ) -> None:
        self.kind = kind
        self.group = group
        self._parts = dict(parts)
        self._problem = problem
        self._offered: dict[str, EntryPoint] | None = None
        self._broken: set[str] = set()

    def add(self, name: str, part: Part) -> None:
        """Register a part of your own; one defined again, by a notebook cell run twice, replaces itself.

        Raises:
            ConfigError: the name is taken by another part, is no word, or the part is not what is
                registered here.
        """
        self._check(name, part, f"{self.kind} '{name}'")
        if name in self._parts and _identity(part) != _identity(self._parts[name]):
            raise ConfigError(
                [f"{self.kind} '{name}': there is one of that name already. Choose another name"]
            )
        self._parts[name] = part

    def recorded(self, name: str) -> Part:
        """The part that a saved model was made with.

        Raises:
            UnregisteredError: there is none of that name, or it cannot be loaded.
        """
        made = f"made with {self.kind} '{printable(str(name))}', which"
        if name not in self:
            raise UnregisteredError(
                f"{made} is not registered here: plait.register it, or install the package that brings "
                "it."
            )
        try:
            return self[name]
        except ConfigError as error:
            raise UnregisteredError(f"{made} cannot be loaded: {error.problems[0]}.") from error

    def __getitem__(self, name: str) -> Part:
        if name not in self._parts:
            self._load(name)
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        yield from list(self._parts)  # nothing is imported for whoever wants the first one only
        for name in self._entry_points():
            if name not in self._parts and self._loads(name):
                yield name

    def __len__(self) -> int:
        return len(self._parts.keys() | (self._entry_points().keys() - self._broken))

    def __setitem__(self, name: str, part: Part) -> None:
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        del self._parts[name]

    def __repr__(self) -> str:
        return f"Registry({self.group}: {', '.join(self._parts)})"

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._offered is None:
            self._offered = {
                point.name: point
                for point in entry_points(group=self.group)
                if point.name not in self._parts
            }
        return self._offered

    def _loads(self, name: str) -> bool:
        """Import a part for a list, which goes on without it; tried once, so that it warns once."""
        if name in self._broken:
            return False
        try:
            self._load(name)
        except ConfigError as error:
            self._broken.add(name)
            warnings.warn(
                f"{error.problems[0]}. plait goes on without it.", PlaitWarning, stacklevel=2
            )
            return False
        return True

    def _load(self, name: str) -> None:
        """Import a part that a package offers; nothing when none does, or when it is loaded."""
        point = self._entry_points().get(name)
        if point is None or name in self._parts:
            return
        package = point.dist.name if point.dist else "an unknown package"
        where = f"{self.kind} '{name}' of the package {package} (entry point {point.value})"
        try:
            part = point.load()
        except (Exception, SystemExit) as error:  # whatever another package does when imported
            raise ConfigError(
                [f"{where} cannot be imported: {type(error).__name__}: {error}"]
            ) from error
        self._check(name, part, where)
        self._parts[name] = part

    def _check(self, name: str, part: object, where: str) -> None:
        if not name or not name.replace("-", "_").replace(".", "_").isidentifier():
            raise ConfigError(
                [f"{where}: a name is letters, digits, '-', '_' and '.', and no digit comes first"]
            )
        if problem := self._problem(part):
            raise ConfigError([f"{where}: {problem}"])


def _identity(part: object) -> tuple[object, ...]:
    """What stays the same when the source of a part is run again: where its definition stands.

    All lambdas of a module share one qualified name; their code tells them apart.
    """
    if isinstance(part, partial):
        part = part.func
    definition = part if hasattr(part, "__qualname__") else type(part)
    name = getattr(definition, "__qualname__", "")
    code = getattr(definition, "__code__", None) if name.endswith("<lambda>") else None
    return getattr(definition, "__module__", None), name, code


def subclass_of(base: type) -> Callable[[object], str]:
    """Parts that are classes derived from one, and not abstract."""

    def problem(part: object) -> str:
        if not (isinstance(part, type) and issubclass(part, base)):
            return f"must be a class derived from plait's {base.__name__}, got {part!r}"
        # Not inspect.isabstract: torch's modules have no ABCMeta, which alone would list these.
        missing = [
            name
            for name in dir(part)
            if getattr(inspect.getattr_static(part, name), "__isabstractmethod__", False)
        ]
        return (
            f"{part.__name__} is abstract: it does not define {', '.join(missing)}"
            if missing
            else ""
        )

    return problem


def instance_of(base: type) -> Callable[[object], str]:
    """Parts that are objects of a class."""

    def problem(part: object) -> str:
        return "" if isinstance(part, base) else f"must be a {base.__name__} object, got {part!r}"

    return problem


def function(part: object) -> str:
    """Parts that are called."""
    return (
        "" if callable(part) and not isinstance(part, type) else f"must be a function, got {part!r}"
    )


def call_problem(part: Callable[..., object], call: str, *given: object, **named: object) -> str:
    """Why a part cannot be called as plait calls it; empty: it can.

    Args:
        call: the arguments in words, for the message: ``(widths, width=, dropout=)``.
        given, named: a value for each of them; it is not looked at.
    """
    try:
        signature = inspect.signature(part)
    except ValueError:  # written in C, and says nothing of its arguments
        return ""
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        return f"plait calls it with {call}, but its signature is {signature}: {error}"
    return ""
