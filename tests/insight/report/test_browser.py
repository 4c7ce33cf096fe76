"""The page in a real browser: clicked through, on a desk and on a phone, by day and in the dark."""

import pytest

from tests.insight.report import browser
from tests.insight.report.conftest import QUICK

pytestmark = pytest.mark.skipif(browser.found() is None, reason="no Chromium on this machine")

CONTRAST = """
(() => {
  const part = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map(
      (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const [r, g, b, a = 1] = part(getComputedStyle(one).backgroundColor);
      layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    return layers.reverse().reduce(
      (under, [r, g, b, a]) => [r, g, b].map((v, at) => a * v + (1 - a) * under[at]), [255, 255, 255]);
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || element.closest("svg, .skip, legend") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(part(style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(element.tagName + " " + element.textContent.slice(0, 40) + " " + ratio);
  }
  return poor;
})()
"""


@pytest.fixture(scope="module")
def seen():
    with browser.opened() as found:
        yield found


@pytest.fixture
def path(written):
    return written


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)]
)
def test_it_is_clicked_through_without_a_complaint(seen, path, width, dark):
    seen.look(width, dark=dark)
    seen.open(path)
    for key in seen.run("[...document.querySelectorAll('nav a')].map((one) => one.hash.slice(1))"):
        seen.run(f"document.querySelector('nav a[href=\"#{key}\"]').click()")
        assert seen.run("location.hash") == f"#{key}"
    closed = "document.querySelectorAll('details:not([open])').length"
    assert seen.run(closed) > 0
    seen.run("document.querySelectorAll('details:not([open]) > summary').forEach((s) => s.click())")
    assert seen.run(closed) == 0
    assert seen.run("document.documentElement.scrollWidth") <= width  # nothing hangs over the side
    assert seen.run("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    assert seen.run(CONTRAST) == []
    assert seen.complaints == []
    assert seen.requests == [path.as_uri()]


def test_the_switch_of_colours_outdoes_the_system(seen, path):
    paper = "getComputedStyle(document.body).backgroundColor"
    seen.look(1280, dark=True)
    seen.open(path)
    night = seen.run(paper)
    seen.run("document.getElementById('look-light').click()")
    day = seen.run(paper)
    seen.run("document.getElementById('look-auto').click()")
    assert day != night == seen.run(paper)
    seen.look(1280)
    assert seen.run(paper) == day
    seen.run("document.getElementById('look-dark').click()")
    assert seen.run(paper) == night


def test_script_in_the_data_does_not_run(seen, maker, tmp_path):
    nasty = "<img src=x onerror=\"console.log('ran')\"><script>console.log('ran')</script>"
    rows = [
        {f"note {nasty}": f"{nasty} {n}", "x": n / 3, nasty: f"{n % 2} {nasty}"} for n in range(30)
    ]
    model = maker.fit(rows, nasty, columns={f"note {nasty}": "text"})
    path = model.report(rows, tmp_path / "r.html", limits=QUICK)
    seen.look(1280)
    seen.open(path)
    assert seen.run("document.querySelectorAll('script, img[src=x]').length") == 0
    assert nasty in seen.run("document.querySelector('h1').textContent")
    assert seen.complaints == [] and seen.requests == [path.as_uri()]


def test_the_policy_stops_script_and_requests_even_so(seen, path, tmp_path):
    """Were something ever to slip through the escaping, the page's own policy would still hold."""
    text = path.read_text(encoding="utf-8")
    worse = text.replace("</main>", "<script>window.ran = 1</script><img src='pixel.png'></main>")
    assert worse != text
    place = tmp_path / "worse.html"
    place.write_text(worse, encoding="utf-8")
    seen.open(place)
    assert seen.run("window.ran") is None
    assert any("Content Security Policy" in told for told in seen.complaints)
