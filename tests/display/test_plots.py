"""Plots are well-formed SVG, say what they were told, and let no label lie on another."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from plait.display.plot_frame import Frame, log_ticks, nice_ticks, short_number
from plait.display.plot_labels import Box, beside, spread, width_of
from plait.display.plots import Bar, Point, Series, bars, heat_map, lines, scatter

NAME = '<script>"&'
SPACE = "{http://www.w3.org/2000/svg}"


def read(svg):
    """The tree of an SVG; fails where it is not well-formed."""
    return ElementTree.fromstring(svg)


def texts(svg):
    return ["".join(node.itertext()) for node in read(svg).iter(f"{SPACE}text")]


def scattered(points, **options):
    return scatter(points, title="T", x_label="cost", y_label="score", **options)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.84, 0.96, [0.85, 0.9, 0.95]),
        (-3.0, 12.0, [0, 5, 10]),
        (2.0, 2.0, [2.0]),
        (0.0, 1e7, [0, 2e6, 4e6, 6e6, 8e6, 1e7]),
    ],
)
def test_nice_ticks(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("most", [3, 4, 6, 9])
def test_ticks_lie_inside_and_are_not_too_many(most, rng):
    for _ in range(50):
        low, high = np.sort(rng.normal(0, 10.0 ** rng.integers(-4, 5), 2)).tolist()
        ticks = nice_ticks(low, high, most)
        air = (high - low) * 1e-6
        assert len(ticks) <= most
        assert all(low - air <= tick <= high + air for tick in ticks)


def test_log_ticks():
    assert log_ticks(1, 1e4) == pytest.approx([1, 10, 100, 1000, 1e4])
    assert log_ticks(1, 60) == pytest.approx([1, 2, 5, 10, 20, 50])
    assert log_ticks(1e5, 4e5) == pytest.approx([1e5, 1.5e5, 2e5, 3e5])
    # Where even those are few, plain ticks.
    assert log_ticks(4e5, 9e5) == pytest.approx([4e5, 6e5, 8e5])
    assert log_ticks(10.1, 10.9) == pytest.approx([10.2, 10.4, 10.6, 10.8])


def test_short_numbers():
    told = [short_number(v) for v in (0.85, 120, 3400, 1.2e7, 3e9, 2e12, -2500)]
    assert told == ["0.85", "120", "3.4k", "12M", "3G", "2T", "−2.5k"]


def test_text_is_escaped_everywhere():
    made = [
        scattered([Point(NAME, 1, 1)], groups=[NAME]),
        lines([Series(NAME, [0, 1], [0, 1])], title=NAME, x_label=NAME, y_label=NAME),
        bars([Bar(NAME, 0.5)], title=NAME, x_label=NAME, groups=[NAME]),
        heat_map([NAME], [NAME], [[1.0]], title=NAME),
    ]
    for svg in made:
        assert "<script" not in svg
        assert any(NAME in text for text in texts(svg))


def test_colours_can_be_restyled_and_are_well_told_apart():
    svg = scattered([Point("a", 1, 1), Point("b", 2, 2, group=1)])
    assert "var(--plot-1, #0072b2)" in svg and "var(--plot-2, #d55e00)" in svg
    assert "<circle" in svg and "<polygon" in svg  # groups differ in shape too
    shapes = scattered([Point(str(g), g + 1, g, group=g) for g in range(4)])
    corners = [len(p.split()) for p in re.findall(r'points="([^"]+)"', shapes)]
    assert corners == [4, 3, 4]


def label_boxes(svg, names):
    found = []
    for node in read(svg).iter(f"{SPACE}text"):
        if node.text in names:
            x, y = float(node.get("x")), float(node.get("y"))
            found.append(Box(x, y - 9, x + width_of(node.text, 11) - 2, y + 1))
    return found


@pytest.mark.parametrize("crowd", ["apart", "heap"])
def test_fifty_labels_do_not_lie_on_each_other(crowd, rng):
    size = {"apart": 1.0, "heap": 0.002}[crowd]
    points = [
        Point(f"method{n:02d}", 10 ** (5 + size * rng.random()), 0.9 + 0.1 * size * rng.random())
        for n in range(50)
    ]
    svg = scattered(points, log_x=True, size=(1040, 480))
    boxes = label_boxes(svg, {point.label for point in points})
    assert len(boxes) == 50
    for number, box in enumerate(boxes):
        assert not any(box.meets(other) for other in boxes[:number])
        assert box.left >= 0 and box.right <= 1040


def test_a_scatter_has_intervals_and_leaves_out_what_cannot_be_drawn():
    svg = scattered(
        [
            Point("a", 10, 0.5, 0.4, 0.6),
            Point("b", 100, 0.6, math.nan, 0.7),
            Point("nil", 0, 0.5),
            Point("nan", 5, math.nan),
        ],
        log_x=True,
    )
    told = texts(svg)
    assert "a" in told and "b" in told and "nil" not in told and "nan" not in told
    assert "cost" in told and "score" in told
    upright = [
        n for n in read(svg).iter(f"{SPACE}line")
        if n.get("x1") == n.get("x2") and "stroke-width:1.5" in n.get("style")
    ]  # fmt: skip
    assert len(upright) == 1


def test_plots_of_nothing_say_so():
    empty = [
        scattered([]),
        lines([Series("a", [0.0], [math.nan])], title="T", x_label="", y_label=""),
        bars([Bar("a", math.nan)], title="T", x_label=""),
        heat_map(["a"], ["b"], [[math.nan]], title="T"),
    ]
    for svg in empty:
        assert texts(svg)[-1] == "nothing to show"


def test_weak_lines_are_grey_and_named_when_pointed_at():
    svg = lines(
        [
            Series("strong", [0, 0.5], [1.0, 0.5]),
            Series("weak", [0, 0.5], [0.9, 0.4], strong=False),
            Series("gap", [0, 0.25, 0.5], [0.9, math.nan, 0.4]),
        ],
        title="T",
        x_label="share",
        y_label="score",
        ticks="percent",
    )
    assert "strong" in texts(svg) and "weak" not in texts(svg)
    assert "<title>weak</title>" in svg
    assert "0%" in texts(svg) and "50%" in texts(svg) and "25%" not in texts(svg)
    assert "var(--plot-grey, #b3bcc6)" in svg


def test_more_lines_than_colours_are_dashed():
    series = [Series(f"s{n}", [0, 1], [n, n + 1]) for n in range(8)]
    svg = lines(series, title="T", x_label="x", y_label="y")
    assert svg.count("stroke-dasharray:5 3") == 2


def test_bars_start_at_zero_and_may_go_below():
    svg = bars(
        [Bar("up", 0.5, 0.4, 0.6), Bar("down", -0.25, group=1), Bar("no interval", 0.1, 0.0, math.nan)],
        title="T", x_label="r2", groups=["one", "two"], mark=0.3,
    )  # fmt: skip
    rects = {
        node.find(f"{SPACE}title").text.split(":")[0]: (
            float(node.get("x")),
            float(node.get("width")),
        )
        for node in read(svg).iter(f"{SPACE}rect")
    }
    zero = rects["up"][0]
    assert rects["down"][0] + rects["down"][1] == pytest.approx(zero, abs=0.2)
    assert rects["up"][1] == pytest.approx(2 * rects["down"][1], rel=0.01)
    assert svg.count("stroke-dasharray:4 3") == 1
    assert "−0.250" in texts(svg) and "one" in texts(svg)
    without = bars([Bar("up", 0.5)], title="T", x_label="", mark=math.nan)
    assert "stroke-dasharray" not in without


def test_a_heat_map_is_darker_where_more():
    svg = heat_map(["a", "b"], ["x", "a very long name indeed, longer than its column"],
                   [[0.0, 1.0], [0.5, math.nan]], title="T")  # fmt: skip
    shades = [float(s) for s in re.findall(r"fill-opacity:([\d.]+)", svg)]
    assert shades == pytest.approx([0.06, 0.6, 0.33, 0.0])
    assert [t for t in texts(svg) if t in ("0.000", "1.000", "0.500", "-")] == [
        "0.000", "1.000", "0.500", "-",
    ]  # fmt: skip
    cut = next(text for text in texts(svg) if "…" in text)
    assert cut.startswith("a very long") and "indeed, longer than its column" in cut  # the hint
    same = heat_map(["a"], ["x"], [[0.5]], title="T")
    assert "fill-opacity:0.06" in same


def test_equal_values_still_have_an_axis():
    frame = Frame(100, 100, left=10, right=10, top=10, bottom=10)
    frame.scale([2.0, 2.0], [0.0, 0.0])
    assert frame.x(2.0) == pytest.approx(50) and frame.y(0.0) == pytest.approx(50)


# Labels


def test_boxes():
    box = Box(0, 0, 10, 10)
    assert box.meets(Box(9, 9, 12, 12)) and not box.meets(Box(10, 0, 12, 12))
    assert Box(1, 1, 9, 9).within(box) and not Box(1, 1, 11, 9).within(box)


def test_wide_letters_are_wide():
    assert width_of("图像", 10) == 20
    assert width_of("ab", 10) == pytest.approx(12.4)


def test_a_label_goes_right_then_left_then_nowhere():
    frame = Box(0, 0, 200, 100)
    assert beside("abc", (50, 50), [], frame, size=11).left == 57
    right = Box(52, 0, 200, 100)
    assert beside("abc", (50, 50), [right], frame, size=11).right == pytest.approx(43)
    assert beside("abc", (50, 50), [frame], frame, size=11) is None


def test_spreading():
    assert spread([], 10, 0, 100) == []
    assert spread([10, 50], 10, 0, 100) == [10, 50]
    assert spread([10, 12, 13], 10, 0, 100) == [10, 20, 30]
    assert spread([95, 98, 99], 10, 0, 100) == [80, 90, 100]
    tight = spread([50.0] * 30, 10, 0, 100)
    assert tight[0] == pytest.approx(0) and tight[-1] == pytest.approx(100)
    assert np.allclose(np.diff(tight), 100 / 29)
    assert spread([50], 10, 0, 100) == [50]


def test_counted_axes_have_whole_ticks_and_reach_what_is_asked():
    line = [Series("a", [1.0, 2.0, 3.0], [0.5, 0.6, 0.7])]
    drawn = lines(line, title="t", x_label="epoch", y_label="", ticks="whole", reach=(0.0,))
    ticks = re.findall(r">([\d.]+)</text>", drawn)
    assert "1.5" not in ticks and {"1", "2", "3"} <= set(ticks)
    assert "0" in ticks
    single = [Series("a", [1.0], [0.5])]
    assert ">1<" in lines(single, title="t", x_label="epoch", y_label="", ticks="whole")
