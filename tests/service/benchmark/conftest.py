"""A real service on a free port, the command in this process, and k6 with small pictures."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.__main__ import main
from service.app import Service, build_application
from service.app.certificate import Certificate
from service.app.protocol import BoundedProtocol
from service.app.server import Server
from service.benchmark.figures import PERCENTILES, Cost, Figures
from service.benchmark.k6 import K6, K6Missing, find_k6
from service.benchmark.pictures import generate_pictures
from service.benchmark.target import Target
from service.engine.embedded import EmbeddedEngine
from service.settings import Settings

READY_S = 60
SHORT = ("--seconds", "1", "--warm-up", "0", "--size", "128x96")


class Serving:
    """A service that serves HTTP on a free port, from when it is made until `stop`."""

    def __init__(self, settings: Settings, engine: EmbeddedEngine | None) -> None:
        self._settings, self._engine = settings, engine
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="serving")
        self._thread.start()
        assert self._ready.wait(READY_S), "it did not start"
        scheme = "https" if settings.tls_certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _serve(self) -> None:
        settings = self._settings
        self.service = Service(settings, engine=self._engine)
        files = (settings.tls_certificate, settings.tls_key)
        certificate = Certificate(*files, metrics=self.service.metrics) if all(files) else None
        config = uvicorn.Config(
            build_application(self.service), port=0, http=BoundedProtocol, lifespan="off", log_config=None,
            ssl_certfile=files[0], ssl_keyfile=files[1],
        )  # fmt: skip
        self._server = _Announcing(config, self.service, grpc=None, certificate=certificate)
        self._server.ready = self._ready
        await self._server.serve()

    def detections(self) -> float:
        """How many requests were answered 200."""
        labels = {"route": "/v1/detect", "code": "200", "transport": "http"}
        return self.service.metrics.registry.get_sample_value("yolov7_requests_total", labels) or 0.0

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(READY_S)
        assert not self._thread.is_alive()


class _Announcing(Server):
    ready: threading.Event

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture(scope="session")
def k6_program() -> str:
    """The real k6; there are platforms without a wheel of it, and its tests skip by name there."""
    try:
        return find_k6()
    except K6Missing:
        pytest.skip("needs k6")


@pytest.fixture(scope="module")
def make_serving(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Serving]]:
    """Starts a service: (engine=, settings)."""
    started: list[Serving] = []

    def make(engine: EmbeddedEngine | None = None, **settings: object) -> Serving:
        started.append(Serving(make_settings(**settings), engine))
        return started[-1]

    yield make
    for serving in started:
        serving.stop()


@pytest.fixture(scope="module")
def serving(make_serving: Callable[..., Serving]) -> Serving:
    """One for all tests of a file."""
    return make_serving()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `yolov7-service bench`, shortly unless told otherwise; its exit code and what it printed to both outputs."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = [*SHORT, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["yolov7-service", "bench", *words])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def measured(bench: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs it and returns what it wrote as JSON."""

    def run(*arguments: object) -> dict[str, Any]:
        code, _, err = bench(*arguments, "--json", tmp_path / "run.json")
        assert code == 0, err
        return json.loads((tmp_path / "run.json").read_text())

    return run


@pytest.fixture
def make_k6() -> Iterator[Callable[..., K6]]:
    """k6 for a target: (url, pictures=, what Target takes)."""
    opened: list[K6] = []

    def make(url: str, pictures: Any = None, **target: Any) -> K6:
        opened.append(K6(find_k6(), Target(url, **target), pictures or generate_pictures((128, 96), 3)))
        return opened[-1].__enter__()

    yield make
    for k6 in opened:
        k6.__exit__(None, None, None)


@pytest.fixture(scope="session")
def make_figures() -> Callable[..., Figures]:
    """Figures of one step: (answered, ms=, seconds=, what Figures takes). Every percentile is the same."""

    def make(answered: int, *, ms: float = 10.0, seconds: float = 1.0, **changes: Any) -> Figures:
        given: dict[str, Any] = {
            "seconds": seconds,
            "sent": answered,
            "dropped": 0,
            "statuses": {"200": answered} if answered else {},
            "latency_ms": dict.fromkeys(PERCENTILES, ms) if answered else {},
            "cost": Cost(0.1, 1.0),
        }
        return Figures(**given | changes)

    return make
