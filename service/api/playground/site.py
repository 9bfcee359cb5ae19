"""The two pages, their files and what a browser is allowed to do on them.

A page's files are answered below a path that names their content, which a browser may keep for ever; the page itself is
asked for again each time, so a new release is seen at once. A path of another release is answered too, but not kept:
while gateways are replaced one by one, a page of one may ask another for its files.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api.exchange import Exchange
from service.api.playground.asset import Asset

FOLDER = Path(__file__).parent
PAGE = "index.html"
# Stands in the page where its release belongs.
RELEASE = "/release/"

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"

NOTHING_ELSE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PLAYGROUND_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    f"media-src blob:; {NOTHING_ELSE}"
)
# Swagger UI writes styles into its elements and has its icons as data.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    f"connect-src 'self'; {NOTHING_ELSE}"
)


class Page:
    """`files`: all that it is made of, index.html among them; `prefix`: where its files are asked for."""

    def __init__(self, files: Iterable[Asset], *, prefix: str, policy: str) -> None:
        self._assets = {asset.name: asset for asset in files}
        self._release = _release(self._assets.values())
        page = self._assets.pop(PAGE).data.replace(RELEASE.encode(), f"/{self._release}/".encode())
        self._page = Asset(PAGE, page)
        self._prefix = prefix
        self._headers = {
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }

    async def page(self, request: Request) -> Response:
        """The page itself."""
        Exchange.of(request).route = request.url.path
        return self._page.answer(request.headers, self._headers | {"Cache-Control": ASK_AGAIN})

    async def file(self, request: Request) -> Response:
        """One of its files."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        Exchange.of(request).route = f"{self._prefix}/{{release}}/{{name}}"
        kept = request.path_params["release"] == self._release
        return asset.answer(request.headers, self._headers | {"Cache-Control": FOR_EVER if kept else ASK_AGAIN})


def add_pages(api: FastAPI) -> None:
    """Adds the pages to an application, which must not have FastAPI's own documentation."""
    playground, docs = _read_pages()

    def add(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        api.add_route(path, endpoint, methods=["GET"], include_in_schema=False)  # and so HEAD

    add("/", playground.page)
    add("/playground/{release}/{name}", playground.file)
    add("/docs", docs.page)
    add("/docs/{release}/{name}", docs.file)


@cache
def _read_pages() -> tuple[Page, Page]:
    playground = Page(_read("static"), prefix="/playground", policy=PLAYGROUND_POLICY)
    return playground, Page(_read("docs"), prefix="/docs", policy=DOCS_POLICY)


def _read(folder: str) -> list[Asset]:
    return [Asset.read(path) for path in sorted((FOLDER / folder).iterdir()) if path.suffix != ".md"]


def _release(assets: Iterable[Asset]) -> str:
    return sha256("".join(asset.name + asset.etag for asset in assets).encode()).hexdigest()[:12]
