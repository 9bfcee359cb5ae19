"""A real service in a process of its own, and Debian's Chromium that looks at it."""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from service.access import new_key

CHROMIUM = shutil.which("chromium")
WAIT_MS = 30_000
# A camera that Chromium draws itself, and nobody to ask for it.
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def serve(
    blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory, end: Callable[..., None]
) -> Iterator[Callable[..., str]]:
    """Starts a service with the block finder and more flags: its URL."""
    processes = []

    def start(*flags: str) -> str:
        cache = tmp_path_factory.mktemp("openvino")
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--grpc", "false", "--precision", "f32"]
        command += ["--model-repository", str(blocks_repository), "--default-model", "blocks"]
        process = subprocess.Popen(
            [*command, "--openvino-cache-dir", str(cache), *flags], stderr=subprocess.PIPE, start_new_session=True
        )
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(rb"running on (http://127\.0\.0\.1:\d+)", line):
                return found[1].decode()
        raise AssertionError("the service did not start")

    yield start
    for process in processes:
        end(process)
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture(scope="session")
def open_service(serve: Callable[..., str]) -> str:
    return serve()


@pytest.fixture(scope="session")
def keyed_service(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A service that needs a key: its URL, and the token."""
    token, entry = new_key("page", ["detect"])
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(entry)
    return serve("--keys-file", str(path)), token


@pytest.fixture(scope="session")
def two_models(
    serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, write_blocks: Callable[..., object]
) -> str:
    """A service with the models `blocks` and `other`, which answer alike."""
    root = tmp_path_factory.mktemp("two")
    write_blocks(root)
    write_blocks(root, "other")
    return serve("--model-repository", str(root))


@pytest.fixture(scope="session")
def slow_service(serve: Callable[..., str]) -> str:
    """A service that answers an address once an hour."""
    return serve("--anonymous-rate", "1/hour")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *FAKE_CAMERA])
        yield browser
        await browser.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(WAIT_MS)
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext, open_service: str) -> AsyncIterator[Page]:
    """The page of the open service. Whatever it complains of, or asks of other hosts, fails the test."""
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: _note_stranger(request.url, open_service, complaints))
    await page.goto(open_service)
    yield page
    assert complaints == []


def _note_stranger(url: str, own: str, complaints: list[str]) -> None:
    if not url.startswith((own, "blob:", "data:")):
        complaints.append(f"asked for {url}")


@pytest.fixture(scope="session")
def wcag() -> Callable[[Page], Awaitable[dict[str, float]]]:
    """Contrast (WCAG 2) of each text of a page with the nearest ground that is painted behind it."""
    script = """() => {
      const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
      const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const colour = channels(getComputedStyle(at).backgroundColor);
          if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
      };
      const found = {};
      for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].filter((node) => node.nodeType === 3);
        const text = own.map((node) => node.data.trim()).join("");
        if (!text || !element.checkVisibility() || element.closest(":disabled, .unseen, .skip, noscript")) continue;
        const pair = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort();
        found[text] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
      }
      return found;
    }"""
    return lambda page: page.evaluate(script)
