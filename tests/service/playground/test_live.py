"""Live video over the real socket, and a service that needs a key."""

import pytest
from playwright.async_api import BrowserContext, Page, expect

pytestmark = pytest.mark.anyio

# A few frames of a red field, as a browser itself records them.
RECORD = """async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
  const context = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
  const parts = [];
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
  recorder.start();
  for (let frame = 0; frame < 20; frame += 1) {
    context.fillStyle = frame % 2 ? "#ff0000" : "#f80000";
    context.fillRect(0, 0, 128, 128);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  recorder.stop();
  await stopped;
  return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
}"""


async def test_the_camera_is_answered_frame_by_frame(page: Page):
    await page.locator("#pick-camera").click()
    await expect(page.locator("#hud")).to_contain_text("fps")
    # Chromium's own camera shows a green field.
    await expect(page.locator("#counts")).to_contain_text("green")
    await expect(page.locator("#latency")).to_contain_text("from arrival to answer")


async def test_settings_hold_for_the_frames_that_follow(page: Page):
    await page.locator("#pick-camera").click()
    await expect(page.locator("#counts")).to_contain_text("green")
    await page.locator("#classes button", has_text="blue").click()
    await expect(page.locator("#counts")).not_to_contain_text("green")


async def test_pausing_holds_the_frame_which_still_follows_the_settings(page: Page):
    await page.locator("#pick-camera").click()
    await expect(page.locator("#counts")).to_contain_text("green")
    await page.locator("#live-pause").click()
    await expect(page.locator("#live-pause")).to_have_text("Resume")
    assert await page.evaluate("document.querySelector('video').paused")
    await page.locator("#classes button", has_text="blue").click()
    await expect(page.locator("#counts")).not_to_contain_text("green")
    await expect(page.locator("#hud")).to_contain_text("paused")
    await page.locator("#classes-all").click()
    await page.locator("#live-pause").click()
    await expect(page.locator("#counts")).to_contain_text("green")


async def test_a_video_file_is_looked_at_as_the_camera_is(page: Page):
    recorded = await page.evaluate(RECORD)
    await page.set_input_files("#video-file", {"name": "a.webm", "mimeType": "video/webm", "buffer": bytes(recorded)})
    await expect(page.locator("#hud")).to_contain_text("fps")
    await expect(page.locator("#counts")).to_contain_text("red")
    async with page.expect_download() as download:
        await page.locator("#save-picture").click()
    assert (await download.value).suggested_filename == "a-detections.png"


async def test_stopping_ends_the_stream(page: Page):
    await page.locator("#pick-camera").click()
    await expect(page.locator("#hud")).to_contain_text("fps")
    await page.locator("#live-stop").click()
    await expect(page.locator("#live-tools")).to_be_hidden()
    await expect(page.locator("#invitation")).to_be_visible()


async def test_a_key_opens_pictures_and_streams(context: BrowserContext, keyed_service: tuple[str, str], png: bytes):
    url, token = keyed_service
    page = await context.new_page()
    await page.goto(url)
    await page.set_input_files("#picture-file", {"name": "cells.png", "mimeType": "image/png", "buffer": png})
    await expect(page.locator("#trouble")).to_contain_text("key")
    await page.locator("#key-open").click()
    await page.locator("#key").fill(token)
    await page.locator("#key-save").click()
    await expect(page.locator("#rows tr")).to_have_count(2)
    await page.locator("#pick-camera").click()
    await expect(page.locator("#counts")).to_contain_text("green")


async def test_the_key_is_forgotten_with_the_tab(context: BrowserContext, keyed_service: tuple[str, str]):
    url, token = keyed_service
    page = await context.new_page()
    await page.goto(url)
    await page.locator("#key-open").click()
    await page.locator("#key").fill(token)
    await page.locator("#key-save").click()
    assert (await page.evaluate("JSON.stringify(localStorage)")).find(token) < 0
    other = await context.new_page()
    await other.goto(url)
    assert await other.evaluate("sessionStorage.length") == 0
