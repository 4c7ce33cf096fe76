"""Escaping, figures in words, tables, bars; maps drawn on things; an album's limits."""

import numpy as np
import pytest

from plait.data.features import Features
from plait.data.media import Media
from plait.data.modalities import registry
from plait.data.modalities.base import Settings
from plait.data.table.source import open_table
from plait.display.markup import (
    Html,
    bullets,
    compact,
    details,
    facts,
    join,
    levels,
    named,
    number,
    percent,
    signed,
    table,
    tag,
    tidy,
    tiles,
)
from plait.display.page import document
from plait.display.section import Section, metric_words
from plait.insight.report import album as album_module
from plait.insight.report.album import Album
from plait.insight.report.heat import over_picture, over_signal, over_spectrum, over_words


def test_text_is_escaped_wherever_it_enters():
    nasty = "<b>\"'&"
    told = "&lt;b&gt;&quot;&#x27;&amp;"
    assert tag("p", nasty) == f"<p>{told}</p>"
    assert tag("p", class_=nasty) == f'<p class="{told}"></p>'
    assert tag("p", tag("i", nasty)) == f"<p><i>{told}</i></p>"
    assert join([nasty, 3, None], "<") == f"{told}&lt;3&lt;"
    assert named(nasty) == f"<bdi>{told}</bdi>"
    for made in (
        table([nasty], [[nasty, nasty]], caption=nasty), bullets([nasty]), facts([(nasty, nasty)]),
        details(nasty, nasty), tiles([(nasty, nasty, nasty)]), levels([(nasty, 1.0, nasty)]),
    ):  # fmt: skip
        assert "<b>" not in made and told in made


def test_attributes():
    assert (
        tag("img", aria_label="x", hidden=True, alt=None, open=False)
        == '<img aria-label="x" hidden>'
    )
    assert tag("a", "b", href="#c") == '<a href="#c">b</a>'


def test_what_is_no_text_is_shown_by_its_number_or_left():
    assert tidy("a\x00b\u202ec") == "a\u2329U+0000\u232ab\u2329U+202E\u232ac"
    assert tidy("line\nשלום 数字") == "line\nשלום 数字"
    assert tidy("\ud800") == "\u2329U+D800\u232a"


def test_figures_in_words():
    assert [compact(one) for one in (-967.3, -0.0, 12.0)] == ["−967.3", "0", "12"]
    assert [number(one) for one in (0.12345, None, float("nan"), 1234.5, 2.5e7)] == [
        "0.123", "–", "–", "1,234.500", "2.5e+07",
    ]  # fmt: skip
    assert [number(one) for one in (-1.5, -0.0001)] == ["−1.500", "0.000"]  # one minus sign
    assert [signed(one) for one in (0.5, -0.5, 0.0001, -0.0001, None)] == [
        "+0.500", "−0.500", "0.000", "0.000", "–",
    ]  # fmt: skip
    assert percent(0.1234) == "12.3 %" and percent(None) == "–"


def test_bars_share_a_nought():
    told = levels([("a", 3.0, "3"), ("b", -1.0, "-1"), ("c", None, "?")])
    assert 'style="left:25.0%;width:75.0%"' in told
    assert 'style="left:0.0%;width:25.0%" class="less"' in told
    assert told.count("<i ") == 2
    assert 'width:50.0%"' in levels([("a", 1.0, "1")], whole=2.0)
    assert "<i" not in levels([("a", float("nan"), "?")])


def test_tables_say_what_is_what():
    told = table(["a", "b", "c"], [["x", "y", 1]], caption="cap", left=2, strong=[0])
    assert '<th scope="col" class="text">b</th><th scope="col">c</th>' in told
    assert '<tr class="strong"><th scope="row" class="text">x</th><td class="text">y</td>' in told
    assert 'tabindex="0"' in told and told.count('aria-label="cap"') == 2
    assert bullets([]) == ""


def test_a_page_without_a_footer():
    told = document("t", "l", [Section("k", "s", Html("<p>b</p>"))], language="zh")
    assert "<footer" not in told and '<section id="k"' in told and "自动" in told


def test_metrics_have_names():
    assert (
        metric_words("en", "log_loss") == "log loss"
        and metric_words("zh", "log_loss") == "对数损失"
    )
    assert metric_words("en", "r2") == metric_words("zh", "r2") == "R²"


# Maps on things.


def test_marks_have_the_colour_of_their_sign(rng):
    pixels = np.full((16, 12, 1), 128, np.uint8)
    marks = np.zeros((16, 12), np.float32)
    marks[2:5, 2:5], marks[11:14, 7:10] = 1.0, -1.0
    shown = over_picture(pixels, marks, 160).astype(int)
    assert shown.shape == (160, 120, 3)
    warm, cold, bare = shown[35, 35], shown[125, 85], shown[80, 5]
    assert warm[0] > warm[2] + 80 and cold[2] > cold[0] + 80
    assert bare.max() - bare.min() == 0
    plain = over_picture(pixels, np.zeros((16, 12), np.float32), 160)
    assert (plain == plain[0, 0]).all()


def test_low_notes_lie_below(rng):
    sound = np.zeros((20, 8), np.float32)
    marks = np.zeros((20, 8), np.float32)
    marks[:, 0] = 1.0
    shown = over_spectrum(sound, marks).astype(int)
    assert shown.shape == (96, 320, 3)
    assert shown[90, 160, 0] - shown[90, 160, 2] > 80 > shown[5, 160, 0] - shown[5, 160, 2]


def test_words_are_marked_by_strength():
    told = over_words([" a", "<b>", " c", ""], np.array([1.0, -0.5, 0.01, 0.9], np.float32))
    assert told == (
        '<p class="words"> <mark style="background:rgba(var(--for),0.45)">a</mark>'
        '<mark style="background:rgba(var(--against),0.23)">&lt;b&gt;</mark> c</p>'
    )
    assert over_words([], np.zeros(0, np.float32)) == '<p class="words"></p>'


def test_signals_show_their_most_marked_leads():
    values, marks = np.zeros((200, 5), np.float32), np.zeros((200, 5), np.float32)
    values[:, 1] = np.arange(200)
    marks[100:, 1], marks[:10, 4], marks[:10, 0] = 1.0, -1.0, 0.5
    told = over_signal(values, marks, "<pulse>")
    assert told.count("<polyline") == 3 and "&lt;pulse&gt;" in told
    assert "rgba(var(--for),0.70)" in told and "rgba(var(--against),0.70)" in told
    assert "nan" not in over_signal(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), "x")


# The album.


def album(tmp_path, cells, kinds, states=None, **options):
    table = open_table(cells, root=tmp_path)
    features = Features(kinds, states or {name: {} for name in kinds})
    return Album(table, features, Settings(Media(tmp_path)), **options)


def test_cells_that_are_no_media(tmp_path):
    found = album(
        tmp_path, {"x": ["a<b", None, "y" * 900], "n": [1.5, 2.0, None]}, {"n": "numeric"}
    )
    assert found.cell("x", 0) == "<bdi>a&lt;b</bdi>"
    assert "missing" in found.cell("x", 1) and "missing" in found.cell("nowhere", 0)
    assert len(found.cell("x", 2)) < 450
    assert found.cell("n", 0) == "<bdi>1.5</bdi>"


def test_bytes_pictures_and_broken_ones(tmp_path, maker, rng):
    data = maker.image(tmp_path / "a.png", 60, rng)
    cells = {"p": ["a.png", {"bytes": data, "path": None}, "none.png", "../a.png"]}
    found = album(tmp_path, cells, {"p": "image"})
    for row in (0, 1):
        assert found.cell("p", row).startswith('<img src="data:image/jpeg;base64,')
    assert "unreadable" in found.cell("p", 2) and "no such file" in found.cell("p", 2)
    assert "climbs out of the root" in found.cell("p", 3)
    assert found.left_out == 0 and found.used > 0


def test_no_room(tmp_path, maker, rng):
    maker.image(tmp_path / "a.png", 60, rng)
    maker.sound(tmp_path / "a.wav", 400, rng)
    cells = {"p": ["a.png"], "s": ["a.wav"]}
    found = album(tmp_path, cells, {"p": "image", "s": "audio"}, room=10, language="zh")
    assert "因页面大小限制未显示" in found.cell("p", 0) and "a.wav" in found.cell("s", 0)
    assert found.left_out == 2 and found.used == 0
    assert album_module.MAX_BYTES < 15_000_000


@pytest.mark.parametrize("leads", [1, 3])
def test_signals_are_drawn(tmp_path, rng, leads):
    np.save(tmp_path / "a.npy", rng.normal(size=(40, leads)).astype(np.float32))
    settings = Settings(Media(tmp_path))
    state = registry.get("signal").fit(["a.npy"], settings)
    found = album(tmp_path, {"s": ["a.npy", "b.npy"]}, {"s": "signal"}, {"s": state})
    assert found.cell("s", 0).count("<polyline") == leads
    assert "unreadable" in found.cell("s", 1) and "no such file" in found.cell("s", 1)
    assert found.wave("s", 1) is None
