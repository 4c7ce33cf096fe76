"""Parts of other packages, found by their entry points and imported when somebody asks for them."""

import sys
from functools import partial
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from plait.data import registry
from plait.data.registry import Registry, function, instance_of, subclass_of
from plait.errors import ConfigError, PlaitWarning, UnregisteredError, unknown


class Base:
    pass


class Own(Base):
    pass


class Theirs(Base):
    pass


@pytest.fixture
def loaded():
    """What was imported, in order."""
    return []


@pytest.fixture
def offer(monkeypatch, loaded):
    """Have a package offer parts, each given as what importing it gives or raises."""

    def call(**parts):
        def point(name, part):
            def load_part():
                loaded.append(name)
                if isinstance(part, BaseException):
                    raise part
                return part

            class Point(EntryPoint):
                dist = SimpleNamespace(name="plait-extras")
                load = staticmethod(load_part)

            return Point(name, f"extras:{name}", "plait.parts")

        points = [point(name, part) for name, part in parts.items()]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: points if group == "plait.parts" else []
        )
        return Registry("part", {"own": Own}, group="plait.parts", problem=subclass_of(Base))

    return call


def test_a_part_of_a_package_is_imported_when_it_is_asked_for(offer, loaded):
    parts = offer(theirs=Theirs, other=Theirs)
    assert "theirs" in parts and "nobody" not in parts and len(parts) == 3
    assert parts["own"] is Own and next(iter(parts)) == "own"
    assert loaded == []
    assert parts["theirs"] is Theirs and parts["theirs"] is Theirs
    assert loaded == ["theirs"]
    with pytest.raises(KeyError):
        parts["nobody"]


def test_a_list_has_the_parts_of_packages_after_its_own(offer, loaded):
    assert list(offer(theirs=Theirs)) == ["own", "theirs"]
    assert loaded == ["theirs"]


def test_no_package_replaces_a_part(offer, loaded):
    parts = offer(own=Theirs)
    assert dict(parts) == {"own": Own} and loaded == []


def test_a_package_that_fails_is_named(offer):
    parts = offer(theirs=RuntimeError("no such library"))
    with pytest.raises(ConfigError) as caught:
        parts["theirs"]
    assert (
        "part 'theirs' of the package plait-extras (entry point extras:theirs) cannot be imported: "
        "RuntimeError: no such library" in str(caught.value)
    )


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (ImportError("no such library"), " cannot be imported: ImportError: no such library. "),
        (SystemExit(3), " cannot be imported: SystemExit: 3. "),
        (dict, ": must be a class derived from plait's Base, got <class 'dict'>. "),
    ],
)
def test_lists_leave_out_a_part_that_cannot_be_loaded_and_warn_once(offer, loaded, part, problem):
    parts = offer(broken=part, theirs=Theirs)
    with pytest.warns(PlaitWarning) as caught:
        assert list(parts) == ["own", "theirs"]
        assert unknown("part", "their", parts) == (
            "unknown part 'their'. Did you mean 'theirs'? Choose from: own, theirs."
        )
        assert dict(parts) == {"own": Own, "theirs": Theirs} and len(parts) == 2
    assert [str(warning.message) for warning in caught] == [
        "part 'broken' of the package plait-extras (entry point extras:broken)"
        f"{problem}plait goes on without it."
    ]
    assert loaded == ["broken", "theirs"]
    assert "broken" in parts  # not an unknown word: who asks for it is given the reason
    with pytest.raises(ConfigError, match="part 'broken' of the package plait-extras"):
        parts["broken"]


def test_a_saved_model_asks_for_a_part_by_name_alone(offer, loaded):
    parts = offer(theirs=Theirs, broken=ImportError("no such library"))
    assert parts.recorded("theirs") is Theirs
    with pytest.raises(UnregisteredError) as caught:
        parts.recorded("nob\nody")
    assert str(caught.value) == (
        "made with part 'nob·ody', which is not registered here: plait.register it, or install the "
        "package that brings it."
    )
    assert loaded == ["theirs"]
    with pytest.raises(UnregisteredError) as caught:
        parts.recorded("broken")
    assert str(caught.value) == (
        "made with part 'broken', which cannot be loaded: part 'broken' of the package plait-extras "
        "(entry point extras:broken) cannot be imported: ImportError: no such library."
    )


def test_a_package_that_offers_something_else_is_named(offer):
    parts = offer(theirs=dict)
    with pytest.raises(ConfigError) as caught:
        parts["theirs"]
    assert (
        "part 'theirs' of the package plait-extras (entry point extras:theirs): must be a class derived "
        "from plait's Base, got <class 'dict'>" in str(caught.value)
    )


def test_a_program_registers_its_own(offer):
    parts = offer()
    parts.add("mine", Theirs)
    assert parts["mine"] is Theirs
    with pytest.raises(ConfigError, match="part 'own': there is one of that name already"):
        parts.add("own", Theirs)
    with pytest.raises(ConfigError, match="part 'a b': a name is letters, digits, '-', '_'"):
        parts.add("a b", Theirs)
    del parts["mine"]
    assert "mine" not in parts and repr(parts) == "Registry(plait.parts: own)"


CELL = """
class Mine(Base):
    version = {version}

def build(state):
    return {version}
"""


@pytest.mark.parametrize("word", ["Mine", "build", "instance", "partial"])
def test_a_part_defined_again_replaces_itself(word):
    cells = [{"Base": Base, "__name__": "__main__"} for _ in range(2)]
    for version, cell in enumerate(cells):
        exec(CELL.format(version=version), cell)
        cell["instance"], cell["partial"] = cell["Mine"](), partial(cell["build"])
    parts = Registry("part", {}, group="plait.parts", problem=lambda part: "")
    parts.add("mine", cells[0][word])
    parts.add("mine", cells[1][word])
    assert parts["mine"] is cells[1][word] is not cells[0][word]
    for other in (Theirs, Theirs(), len, lambda state: state, partial(len)):
        with pytest.raises(ConfigError, match="part 'mine': there is one of that name already"):
            parts.add("mine", other)


def test_lambdas_are_the_same_by_their_code():
    parts = Registry("part", {}, group="plait.parts", problem=function)
    for again in [lambda state: state + 1 for _ in range(2)]:
        parts.add("mine", again)
    assert parts["mine"] is again
    with pytest.raises(ConfigError, match="part 'mine': there is one of that name already"):
        parts.add("mine", lambda state: state + 2)


def test_what_a_part_may_be():
    assert function(len) == "" and function(Base) == f"must be a function, got {Base!r}"
    assert instance_of(int)(3) == "" and instance_of(int)("3") == "must be a int object, got '3'"
    assert subclass_of(Base)(3) == "must be a class derived from plait's Base, got 3"


def test_an_installed_package_is_found(tmp_path, monkeypatch):
    (tmp_path / "shelf.py").write_text("class Part(dict):\n    pass\n")
    folder = tmp_path / "shelf-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[plait.test-parts]\nshelved = shelf:Part\n")
    monkeypatch.syspath_prepend(tmp_path)
    parts = Registry("part", {}, group="plait.test-parts", problem=subclass_of(dict))
    assert "shelved" in parts and "shelf" not in sys.modules
    assert parts["shelved"].__module__ == "shelf"
    del sys.modules["shelf"]
