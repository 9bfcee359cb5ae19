"""Pictures posted as clients post them, clients of a service of the test's own, and threads that can be held."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import httpx
import pytest

from service.app import Service, build_application
from service.engine.embedded import EmbeddedEngine

Post = Callable[..., Awaitable[httpx.Response]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def post() -> Post:
    """Posts a picture as a raw body: (client, data, query, headers by keyword)."""

    async def post(client: httpx.AsyncClient, data: bytes, query: str = "", **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(f"/v1/detect{query}", content=data, headers={"content-type": "image/png"} | given)

    return post


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[httpx.AsyncClient]]]:
    """A client of a service: (service, peer address)."""
    async with AsyncExitStack() as clients:

        async def connect(service: Service, peer: str = "127.0.0.1") -> httpx.AsyncClient:
            transport = httpx.ASGITransport(build_application(service), client=(peer, 40000))
            return await clients.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))

        yield connect


@pytest.fixture
async def make_client(
    make_service: Callable[..., Awaitable[Service]], connect: Callable[..., Awaitable[httpx.AsyncClient]]
) -> MakeClient:
    """A client of a service with settings of its own, by keyword."""

    async def make(engine: EmbeddedEngine | None = None, **settings: object) -> httpx.AsyncClient:
        return await connect(await make_service(engine, **settings))

    return make


@pytest.fixture(scope="session")
def threads_held() -> Callable[[Service], AbstractAsyncContextManager[None]]:
    """Within it no worker thread of the service does anything: (service)."""

    @asynccontextmanager
    async def held(service: Service) -> AsyncIterator[None]:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        waits = [asyncio.run_coroutine_threadsafe(release.wait(), loop) for _ in range(16)]
        threads = [asyncio.wrap_future(service.threads.submit(wait.result)) for wait in waits]
        try:
            yield
        finally:
            release.set()
            await asyncio.gather(*threads)

    return held
