"""The page as a person uses it: pictures, settings, errors, the keyboard, a phone."""

import json
import re
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import BrowserContext, Page, expect

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shown(page: Page, png: bytes) -> Page:
    """The page with the picture of two cells: a red one that scores 1, a blue one that scores 0.78."""
    await page.set_input_files("#picture-file", {"name": "cells.png", "mimeType": "image/png", "buffer": png})
    await expect(page.locator("#rows tr")).to_have_count(2)
    return page


async def slide(page: Page, name: str, value: float) -> None:
    await page.locator(f"#{name}").fill(str(value))


async def test_a_picture_gets_boxes_and_a_list(shown: Page):
    await expect(shown.locator("#summary")).to_have_text("2 objects")
    first = shown.locator("#rows tr").first
    await expect(first).to_contain_text("red")
    await expect(first).to_contain_text("16, 32 – 24, 40")
    await expect(shown.locator("#overlay")).to_be_visible()
    await expect(shown.locator("#said")).to_contain_text("2 objects")


async def test_boxes_are_drawn_where_the_cells_are(shown: Page):
    painted = await shown.evaluate(
        """() => {
          const canvas = document.getElementById("overlay");
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let painted = 0;
          for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
          return painted / (canvas.width * canvas.height);
        }"""
    )
    assert 0.001 < painted < 0.2


async def test_a_higher_confidence_is_a_hit_of_the_cache_and_shows_less(shown: Page):
    await slide(shown, "confidence", 0.9)
    await expect(shown.locator("#rows tr")).to_have_count(1)
    await expect(shown.locator("#cache")).to_contain_text("cache hit")


async def test_a_class_that_is_chosen_shows_alone(shown: Page):
    await shown.locator("#classes button", has_text="blue").click()
    await expect(shown.locator("#rows tr")).to_have_count(1)
    await expect(shown.locator("#rows tr").first).to_contain_text("blue")
    await shown.locator("#classes-all").click()
    await expect(shown.locator("#rows tr")).to_have_count(2)


async def test_the_model_is_named_with_what_runs_it(page: Page):
    await expect(page.locator("#serving")).to_contain_text("blocks 1")
    await expect(page.locator("#model option")).to_have_text(["blocks"])


async def test_stages_are_told_in_text(shown: Page):
    # Of a hit or a miss alike; a stage that took no time is not named.
    await expect(shown.locator("#stages")).to_contain_text("receive")
    await expect(shown.locator("#stages")).to_contain_text("postprocess")
    await expect(shown.locator("#total")).to_contain_text("ms")


async def test_a_pasted_picture_is_looked_at(page: Page, png: bytes):
    await page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "cells.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(png),
    )
    await expect(page.locator("#rows tr")).to_have_count(2)


async def test_a_dropped_picture_is_looked_at(page: Page, png: bytes):
    await page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "cells.png", { type: "image/png" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(png),
    )
    await expect(page.locator("#rows tr")).to_have_count(2)


async def test_the_downloads_hold_the_answer_and_the_picture(shown: Page, picture: np.ndarray):
    async with shown.expect_download() as download:
        await shown.locator("#save-json").click()
    found = json.loads((await (await download.value).path()).read_bytes())
    assert [detection["label"] for detection in found["detections"]] == ["red", "blue"]
    async with shown.expect_download() as download:
        await shown.locator("#save-picture").click()
    drawn = np.asarray(Image.open(BytesIO((await (await download.value).path()).read_bytes())).convert("RGB"))
    assert drawn.shape[0] >= picture.shape[0]
    assert drawn.any(axis=2).sum() > picture.any(axis=2).sum()


async def test_what_is_no_picture_is_explained(context: BrowserContext, open_service: str):
    page = await context.new_page()
    await page.goto(open_service)
    await page.set_input_files("#picture-file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    await expect(page.locator("#trouble")).to_be_visible()
    await expect(page.locator("#trouble")).to_contain_text("Unsupported image type")


async def test_the_keyboard_is_enough(page: Page):
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.locator("#pick-sample").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#latency")).to_be_visible()
    await page.locator("#confidence").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#confidence-value")).to_have_text("0.26")
    await expect(page.locator("#cache")).to_contain_text("cache hit")


async def test_every_control_has_a_name(shown: Page):
    nameless = await shown.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, canvas")].filter((element) => {
          const label = element.labels?.length || element.getAttribute("aria-label") || element.textContent.trim();
          return !label;
        }).map((element) => element.id)"""
    )
    assert nameless == []


async def test_a_row_marks_its_box(shown: Page):
    await shown.locator("#rows tr").nth(1).hover()
    await expect(shown.locator("#rows tr").nth(1)).to_have_class("marked")


async def test_a_box_marks_its_row(shown: Page):
    area = await shown.locator("#overlay").bounding_box()
    side = min(area["width"], area["height"])
    # The red cell is around x 20, y 36 of 128.
    x, y = area["width"] / 2 + (20 - 64) / 128 * side, area["height"] / 2 + (36 - 64) / 128 * side
    await shown.locator("#overlay").hover(position={"x": x, "y": y})
    await expect(shown.locator("#rows tr").first).to_have_class("marked")
    await shown.locator("#overlay").click(position={"x": x, "y": y})
    await expect(shown.locator("#rows button").first).to_have_attribute("aria-pressed", "true")


async def test_arrow_keys_go_through_the_list(shown: Page):
    await shown.locator("#rows button").first.focus()
    await shown.keyboard.press("ArrowDown")
    await expect(shown.locator("#rows button").nth(1)).to_be_focused()
    await expect(shown.locator("#rows tr").nth(1)).to_have_class("marked")
    await shown.keyboard.press("Enter")
    await shown.keyboard.press("Home")
    await expect(shown.locator("#rows button").nth(1)).to_have_attribute("aria-pressed", "true")
    await expect(shown.locator("#rows button").first).to_be_focused()


async def test_another_model_is_asked_by_its_name(context: BrowserContext, two_models: str, png: bytes):
    page = await context.new_page()
    await page.goto(two_models)
    await page.set_input_files("#picture-file", {"name": "cells.png", "mimeType": "image/png", "buffer": png})
    await expect(page.locator("#rows tr")).to_have_count(2)
    async with page.expect_response(lambda response: "model=other" in response.url) as answer:
        await page.locator("#model").select_option("other")
    assert (await (await answer.value).json())["model"] == {"name": "other", "version": "1"}
    await expect(page.locator("#serving")).to_contain_text("other 1")


async def test_a_rate_that_is_used_up_counts_down(context: BrowserContext, slow_service: str, png: bytes):
    page = await context.new_page()
    await page.goto(slow_service)
    await page.set_input_files("#picture-file", {"name": "cells.png", "mimeType": "image/png", "buffer": png})
    await expect(page.locator("#rows tr")).to_have_count(2)
    await slide(page, "confidence", 0.9)
    await expect(page.locator("#trouble")).to_contain_text("Too many requests")
    await expect(page.locator("#trouble .primary")).to_contain_text("Try again in")
    await expect(page.locator("#trouble code").last).to_have_text(re.compile("[0-9a-f]{32}"))
    async with page.expect_response(lambda response: "/v1/detect" in response.url) as answer:
        await page.locator("#trouble .primary").click()
    assert (await answer.value).status == 429


@pytest.mark.parametrize("width", [360, 768])
async def test_nothing_is_wider_than_a_phone(shown: Page, width: int):
    await shown.set_viewport_size({"width": width, "height": 760})
    assert (await shown.evaluate("document.documentElement.scrollWidth")) <= width


async def test_the_theme_is_kept(page: Page):
    before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    seen = set()
    for _ in range(3):
        await page.locator("#theme").click()
        seen.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(seen | {before}) == 2


async def test_contrast_suffices_in_both_themes(browser, open_service: str, wcag: Callable[[Page], dict[str, float]]):
    for scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=scheme)
        page = await context.new_page()
        await page.goto(open_service)
        await expect(page.locator("#classes button").first).to_be_visible()
        poor = {text: ratio for text, ratio in (await wcag(page)).items() if ratio < 4.5}
        await context.close()
        assert poor == {}, scheme
