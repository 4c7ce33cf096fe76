"""The web page in a real browser: offline, in both languages, light and dark, on a phone."""

import http.client
import re
import shutil

import pytest
from serve.program import Program

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TOKEN = "only-for-this-test-of-the-page"
SCREENS = {
    "en": {"locale": "en-US", "color_scheme": "light", "viewport": {"width": 1100, "height": 900}},
    "zh": {"locale": "zh-CN", "color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="module")
def address(app, tmp_path_factory):
    """The page of a server with a token."""
    path = tmp_path_factory.mktemp("token") / "key.txt"
    path.write_text(TOKEN)
    with Program(app, "--port", 0, "--page", "--token-file", path) as program:
        yield f"http://127.0.0.1:{program.port}/page/"
        assert program.end() == 0  # though a browser may have a stream open


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as play:
        fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fakes])
        yield found
        found.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("screen", SCREENS)
def test_in_a_browser(address, browser, screen, photo, tmp_path):
    context = browser.new_context(
        http_credentials={"username": "me", "password": TOKEN},
        permissions=["microphone"],
        **SCREENS[screen],
    )
    page = context.new_page()
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#ask", timeout=60_000)
    word, look = {"en": ("Predict", "Streams to use"), "zh": ("预测", "使用的输入")}[screen]
    assert page.inner_text("#ask").strip() == word
    assert look in page.inner_text("#streams")
    dark = page.evaluate("document.body.classList.contains('dark')")
    assert dark is (screen == "zh")
    assert (
        page.evaluate("document.documentElement.scrollWidth")
        <= SCREENS[screen]["viewport"]["width"]
    )

    def shares():
        found = re.findall(r"(\w+)\n+([+−]?\d\.\d+)", page.inner_text("#why"))
        return {name: float(share.replace("−", "-")) for name, share in found}

    def until(check):
        for _ in range(100):
            if check(shares()):
                return
            page.wait_for_timeout(100)
        raise AssertionError((shares(), failed))

    page.fill("#in-note textarea", "apple orchard")
    page.click("#ask")
    until(lambda told: told.get("note"))
    assert page.inner_text("#out-label").count("%") == 3
    assert shares()["photo"] == shares()["price"] == 0

    path = tmp_path / "photo.png"
    path.write_bytes(photo)
    page.set_input_files("#in-photo input[type=file]", path)
    page.wait_for_selector("#in-photo img")
    page.click("#ask")
    until(lambda told: told["photo"])
    page.wait_for_selector("#where img[alt='photo']")
    assert page.inner_text("#where mark") in "apple orchard"
    page.click('#streams label:has-text("photo")')
    until(lambda told: "photo" not in told and told["note"])

    page.click('#in-voice button[aria-label="Record audio"], #in-voice .icon >> nth=1')
    page.click("#in-voice .record-button:visible")
    page.wait_for_timeout(1000)
    page.click("#in-voice .stop-button:visible")
    page.wait_for_selector("#in-voice .waveform-container, #in-voice audio", state="attached")
    page.wait_for_timeout(500)
    page.click("#ask")
    until(lambda told: told.get("voice"))
    page.wait_for_selector("#where img[alt='voice']")

    ruined = tmp_path / "ruined.png"
    ruined.write_bytes(b"no picture")
    page.click("#in-photo .icon-button >> nth=-1")
    page.set_input_files("#in-photo input[type=file]", ruined)
    page.wait_for_timeout(500)
    page.click("#ask")
    page.wait_for_selector("#notes:has-text('is not an image of a known kind')", timeout=10_000)
    assert "/tmp" not in page.inner_text("body")

    broken = tmp_path / "pulse.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00")
    page.set_input_files("#in-pulse input[type=file]", broken)
    page.wait_for_timeout(500)
    page.click("#ask")
    page.wait_for_selector("#notes:has-text('is a damaged NumPy array file')", timeout=10_000)

    assert {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))} == {
        address.split("/")[2]
    }
    assert not failed
    context.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page_asks_for_the_token_too(address):
    host = address.split("/")[2]
    for path in (
        "/page/",
        "/page",
        "/page/config",
        "/page/gradio_api/info",
        "/page/gradio_api/heartbeat/x",
    ):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 401, path
        connection.close()
