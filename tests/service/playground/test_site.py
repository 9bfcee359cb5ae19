"""The files of both pages as HTTP gives them, and the reference of the API in a browser."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Page, expect

from service.app import Service, build_application
from service.settings import Settings


@pytest.fixture
async def http(make_settings) -> AsyncIterator[httpx.AsyncClient]:
    settings: Settings = make_settings()
    transport = httpx.ASGITransport(build_application(Service(settings)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_allow_nothing_from_elsewhere(http: httpx.AsyncClient, path: str):
    policy = (await http.get(path)).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "own"), [("/", "/playground/"), ("/docs", "/docs/")])
async def test_all_that_a_page_names_is_there_and_may_be_kept(http: httpx.AsyncClient, path: str, own: str):
    page = (await http.get(path)).text
    names = re.findall(r'(?:src|href)="(/(?:playground|docs)/[^"]+)"', page)
    assert len(names) >= 3
    for name in names:
        answer = await http.get(name)
        assert answer.status_code == 200, name
        assert ("immutable" in answer.headers["cache-control"]) == name.startswith(own)
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_who_has_the_page_is_told_so(http: httpx.AsyncClient):
    tag = (await http.get("/")).headers["etag"]
    again = await http.get("/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.anyio
async def test_head_has_the_length_alone(http: httpx.AsyncClient):
    plain = {"Accept-Encoding": "identity"}
    whole, head = await http.get("/", headers=plain), await http.head("/", headers=plain)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("accepted", "encoding"), [("gzip, br", "gzip"), ("gzip;q=0", None), ("identity", None), ("*", "gzip")]
)
async def test_files_are_packed_for_those_who_take_it(http: httpx.AsyncClient, accepted: str, encoding: str | None):
    answer = await http.get("/", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert "<title>" in answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/playground/x/none.js", "/playground/x/..%2Fsite.py", "/docs/x/index.html"])
async def test_nothing_else_is_there(http: httpx.AsyncClient, path: str):
    assert (await http.get(path)).status_code == 404


@pytest.mark.anyio
async def test_the_reference_of_the_api_needs_no_other_host(page: Page, open_service: str):
    await page.goto(f"{open_service}/docs")
    await expect(page.locator(".opblock-summary-path").first).to_be_visible()
    await expect(page.locator("body")).to_contain_text("/v1/detect")
