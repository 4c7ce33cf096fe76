"""Signals from files, lists and text, with gaps and with the wrong shape."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.modalities.signal import SignalModality, read

SIGNAL = SignalModality()


def npy(array: np.ndarray, **options: bool) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def plain(leads: int = 1, **other: object) -> dict[str, object]:
    return {
        "leads": leads,
        "leads_first": False,
        "mean": [0.0] * leads,
        "std": [1.0] * leads,
        "stride": 1,
        "max_steps": 1024,
    } | other


@pytest.mark.parametrize(
    "cell",
    [
        [1, 2, 3, 4],
        (1.0, 2, 3, 4),
        np.array([1, 2, 3, 4], np.int16),
        np.array([1, 2, 3, 4], object),
        "1 2 3 4",
        "1, 2,3 ,4",
        "1;2;3;4.0",
        "[1, 2, 3, 4e0]",
        npy(np.array([1.0, 2, 3, 4])),
        {"bytes": npy(np.array([1, 2, 3, 4], np.uint8)), "path": None},
        {"bytes": b"1\n2\n3\n4\n", "path": "a.csv"},
        "a.npy",
        "a.csv",
        "named.csv",
        "column.txt",
    ],
)
def test_every_form(cell: object, settings) -> None:
    folder = settings.media.root
    np.save(folder / "a.npy", np.array([1, 2, 3, 4]))
    (folder / "a.csv").write_text("1\n2\n\n3\n4\n")
    (folder / "named.csv").write_text("\ufefflead\n1\n2\n3\n4", "utf-8")
    (folder / "column.txt").write_text("1 \n2 \n3 \n4 ")
    prepared = SIGNAL.prepare([cell], plain(), settings)
    assert not prepared.problems
    assert prepared.values.tolist() == [[1], [2], [3], [4]] and prepared.values.dtype == np.float32


def test_two_leads(settings) -> None:
    (settings.media.root / "a.csv").write_text("ecg,pulse\n1,10\n2,20\n,30\n")
    state = plain(2)
    for cell in (
        [[1, 10], [2, 20]],
        np.array([[1, 10], [2, 20]]),
        npy(np.array([[1.0, 10], [2, 20]])),
    ):
        assert SIGNAL.prepare([cell], state, settings).values.tolist() == [[1, 10], [2, 20]]
    found = read("a.csv", settings)
    np.testing.assert_array_equal(found, [[1, 10], [2, 20], [np.nan, 30]])


def test_leads_by_steps_are_turned(settings) -> None:
    long = [np.arange(2 * n, dtype=float).reshape(2, n) for n in (30, 40)]
    state = SIGNAL.fit(long, settings)
    assert state["leads"] == 2 and state["leads_first"]
    assert SIGNAL.describe(state) == "2 leads, turned from leads by steps, the first 1024 steps"
    assert SIGNAL.prepare(long, state, settings).lengths.tolist() == [30, 40]
    same = SIGNAL.fit([np.zeros((12, 1000))] * 3, settings)
    assert same["leads"] == 12 and same["leads_first"]
    upright = SIGNAL.fit([np.zeros((1000, 12))] * 3, settings)
    assert upright["leads"] == 12 and not upright["leads_first"]
    square = SIGNAL.fit([np.zeros((8, 9))], settings)
    assert square["leads"] == 9 and not square["leads_first"]


def test_scaled_lead_by_lead(settings) -> None:
    random = np.random.default_rng(0)
    cells = [random.normal((5, -100), (1, 20), (200, 2)) for _ in range(20)]
    cells.append(np.full((200, 2), np.nan))
    state = SIGNAL.fit(cells, settings)
    np.testing.assert_allclose(state["mean"], [5, -100], atol=0.5)
    np.testing.assert_allclose(state["std"], [1, 20], rtol=0.05)
    values = SIGNAL.prepare(cells[:-1], state, settings).values
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05
    assert SIGNAL.prepare([[[1e30, 0.0]]], state, settings).values[0, 0] == 20


def test_flat_and_resting_leads(settings) -> None:
    spikes = np.zeros(1000)
    spikes[::100] = 5
    state = SIGNAL.fit([spikes], settings)
    assert 0.2 < state["std"][0] < 1
    assert SIGNAL.fit([np.full(50, 3.0)], settings)["std"] == [1.0]
    assert SIGNAL.fit([np.full(50, np.nan)], settings)["mean"] == [0.0]


def test_long_signals_are_averaged_alike(settings) -> None:
    long, short = np.arange(3000.0), np.arange(7.0)
    state = SIGNAL.fit([long], settings)
    assert state["stride"] == 3
    assert SIGNAL.describe(state) == "1 lead, 3 steps averaged into one, the first 1024 steps"
    state |= {"mean": [0.0], "std": [1000.0]}
    prepared = SIGNAL.prepare([long, short, np.arange(9000.0)], state, settings)
    assert prepared.lengths.tolist() == [1000, 3, 1024]
    np.testing.assert_allclose(prepared.values[:2, 0], [0.001, 0.004])
    np.testing.assert_allclose(prepared.values[1000:1003, 0], [0.001, 0.004, 0.006])


def test_gaps_are_bridged(settings) -> None:
    prepared = SIGNAL.prepare([[1, None, 3, 4, 5, 6], "1 nan 3 4 5 6 7"], plain(), settings)
    assert not prepared.problems
    assert prepared.values[:3, 0].tolist() == prepared.values[6:9, 0].tolist() == [1, 2, 3]
    ends = SIGNAL.prepare([[np.nan, *range(1, 9), np.nan]], plain(), settings)
    assert not ends.present.any()  # exactly the share that is too much
    ends = SIGNAL.prepare([[np.nan, *range(1, 19), np.nan]], plain(), settings)
    assert ends.values[[0, -1], 0].tolist() == [1, 18]


def test_refusals(settings, reasons) -> None:
    folder = settings.media.root
    (folder / "bad.csv").write_text("1,2\n3,x\n")
    (folder / "ragged.csv").write_text("1,2\n3\n")
    (folder / "names.csv").write_text("a,b\n")
    (folder / "fake.npy").write_text("1 2 3")
    (folder / "bin.txt").write_bytes(b"\xff\xfe\xfd")
    numbers = npy(np.arange(100.0))
    huge = numbers.replace(b"(100,)", b"(999999999,)")
    cells = {
        "gone.npy": "'gone.npy': no such file",
        "bad.csv": "'bad.csv': line 2 is '3,x', expected numbers",
        "ragged.csv": "'ragged.csv': its lines differ in how many numbers they hold",
        "names.csv": "'names.csv': holds no values",
        "fake.npy": "'fake.npy': is not a NumPy array file",
        "bin.txt": "'bin.txt': is neither a NumPy array file nor text of numbers",
        b"abc": "is not a NumPy array file",
        b"\x93NUMPY\1": "is a damaged NumPy array file",
        numbers[:200]: "is truncated: its header claims more values than it holds",
        huge: "claims 8000 MB, more than the cap of 64 MB (max_signal_mb)",
        npy(np.array([{}], object), allow_pickle=True): (
            "holds Python objects, which plait does not load"
        ),
        npy(np.array(["a", "b"])): "holds values of type <U1, expected real numbers",
        npy(np.array([1j])): "holds values of type complex128, expected real numbers",
        npy(np.zeros((2, 2, 2))): "has 3 axes, expected steps, or steps by leads",
        npy(np.zeros(0)): "holds no values",
        npy(np.zeros((5, 3))): "has the shape 5 x 3, expected 1 lead",
        npy(np.array([1, np.inf])): "holds infinite values",
        npy(np.array([1, np.nan, np.nan])): "67% of a lead are missing (NaN), more than 20%",
        "1 2 3 1e999 4": "'1 2 3 1e999 4': holds infinite values",
    }
    good: list[object] = [[1, 2, 3]]
    for found, expected in zip(reasons(SIGNAL, good, list(cells)), cells.values(), strict=True):
        assert found == expected
    lists = [[1, "x"], [[1, 2], [3]], [[1], 2], [[[1]]]]
    assert reasons(SIGNAL, good, lists) == [
        "holds something other than numbers",
        "its rows differ in length",
        "its rows differ in length",
        "has 3 axes, expected steps, or steps by leads",
    ]
    assert reasons(SIGNAL, [[[1, 2, 3]] * 5], [[1, 2]]) == ["has the shape 2, expected 3 leads"]


def test_caps(limited, reasons) -> None:
    tight = limited(signal_bytes=64)
    folder = tight.media.root
    (folder / "a.csv").write_text("1\n" * 20)
    cells = [[1.0] * 20, "1 " * 40, "a.csv", npy(np.zeros(4))]
    assert reasons(SIGNAL, [], cells, tight) == [
        "holds 0.00016 MB, more than the cap of 6.4e-05 MB (max_signal_mb)",
        f"'{cells[1]}': holds 8e-05 MB, more than the cap of 6.4e-05 MB (max_signal_mb)",
        "'a.csv': holds more than the cap of 6.4e-05 MB (max_signal_mb)",
        "is 160 bytes large, more than the cap of 64 bytes (max_signal_mb)",
    ]


def test_empty_lists_are_missing(settings) -> None:
    prepared = SIGNAL.prepare([[], np.zeros(0), (), [1, 2]], plain(), settings)
    assert prepared.present.tolist() == [False, False, False, True] and not prepared.problems
    assert SIGNAL.fit([[], [1, 2]], settings)["leads"] == 1


def test_long_inline_text_with_garbage_at_its_end(settings, reasons) -> None:
    text = "1.5 " * 1000 + "oops"
    (reason,) = reasons(SIGNAL, [], [text])
    assert reason.endswith("holds 'oops' among its numbers")


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=50))
def test_inline_text_reads_back(numbers: list[float]) -> None:
    for between in (" ", ",", "; "):
        found = read(between.join(map(repr, numbers)), Settings(Media(None)))
        np.testing.assert_array_equal(found, numbers)


def test_versions_of_the_npy_format(settings) -> None:
    stream = BytesIO()
    np.lib.format.write_array(stream, np.arange(4.0), version=(2, 0))
    assert SIGNAL.prepare([stream.getvalue()], plain(), settings).values.tolist() == [
        [0],
        [1],
        [2],
        [3],
    ]
    fortran = npy(np.asfortranarray(np.arange(6.0).reshape(3, 2)))
    assert SIGNAL.prepare([fortran], plain(2), settings).values.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_matches(settings) -> None:
    np.save(settings.media.root / "a.npy", np.zeros(4))
    assert SIGNAL.matches("x", ["a.npy"], settings).reason == (
        "the one sampled cell ends in .npy, and 1 of 1 opened are signal files"
    )
    assert SIGNAL.matches("x", [npy(np.zeros(4))], settings).strength == 0.95
    assert SIGNAL.matches("x", ["1 2 3 4", "1,2,3,4,5"], settings).strength == 0.92
    found = SIGNAL.matches("x", [[1, 2, 3], [4, 5]], settings)
    assert found.reason == "all 2 sampled cells are lists of numbers (1-dimensional)"
    assert SIGNAL.matches("x", [["a", "b"]], settings) is None
    assert SIGNAL.matches("x", ["1 2", "3 4"], settings) is None
    assert SIGNAL.matches("x", ["2024-01-31", "1.5"], settings) is None
    (settings.media.root / "note.txt").write_text("dear diary\nnothing")
    assert SIGNAL.matches("x", ["note.txt"], settings).strength == 0.75
