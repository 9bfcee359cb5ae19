"""What one writes in an afternoon: a FastAPI handler that decodes in a thread pool and awaits the engine.

No batches, no admission, no deadline. ``--locked`` lets one inference run at a time, which an engine that is not safe
for threads asks for; without it every request has an engine of its own, which no real engine offers. Decoding runs in
Starlette's own pool (40 threads), or in ``--threads`` of them.

    PYTHONPATH=.:bench ~/.cache/yolov7-service/bench/rivals/bin/python bench/rivals/fastapi_app.py --help
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pair import parse_pair
from rivals.engines import SleepingEngine
from rivals.pipeline import answer, prepare


def build(engine: SleepingEngine, *, locked: bool, threads: int) -> FastAPI:
    """The application."""
    application = FastAPI()
    turn: Callable[[], AbstractAsyncContextManager[Any]] = _free
    if locked:
        lock = asyncio.Lock()
        turn = lambda: lock  # noqa: E731 - as short as what it stands for
    pool = ThreadPoolExecutor(threads) if threads else None

    async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
        if pool is None:
            return await run_in_threadpool(work, *arguments)
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)

    @application.post("/predict")
    async def predict(request: Request) -> Response:
        prepared = await in_thread(prepare, await request.body(), engine.shapes_hw)
        async with turn():
            candidates = (await engine.infer_async([prepared.pixels]))[0]
        return Response(await in_thread(answer, candidates, prepared.letterbox), media_type="application/json")

    @application.get("/health")
    async def health() -> str:
        return "ok"

    return application


@asynccontextmanager
async def _free() -> AsyncIterator[None]:
    yield


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8125)
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--shapes", type=parse_pair, nargs="+", required=True, metavar="HxW")
    parser.add_argument("--locked", action="store_true", help="one inference at a time")
    parser.add_argument("--threads", type=int, default=0, help="that decode (default: Starlette's pool)")
    arguments = parser.parse_args()
    engine = SleepingEngine(arguments.sleep_ms / 1000, arguments.shapes)
    application = build(engine, locked=arguments.locked, threads=arguments.threads)
    uvicorn.run(application, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
