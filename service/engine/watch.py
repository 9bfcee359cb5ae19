"""Watches over one Triton server: notices that it is away or back, and reloads what it has lost.

Two things take a model from a server that answers: a restart, after which it has nothing loaded, and the death of the
process behind the model, of which Triton knows nothing: it goes on calling the model ready. Requests meet both first,
and set the endpoint's suspicion.

Of several gateways one reloads: the one that gets the lease. The others look again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from tritonclient.grpc import model_config_pb2

from service.engine.endpoint import LOAD_S, Endpoint
from service.engine.protocol import ModelVersion
from service.errors import EngineFailed
from service.metrics import Metrics

logger = logging.getLogger(__name__)

Lease = Callable[[str, float], Awaitable[bool]]

# How often a server is asked whether it is alive: at most so long it is asked for nothing, or hangs unnoticed.
LOOK_S = 1.0
LEAST_PAUSE_S = 0.1
# As long as no other gateway starts to reload: until the model says of itself that it is being loaded.
LEASE_S = 5.0
# Between attempts at a model that cannot be loaded.
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0
# How long the end of the service waits for a reload under way: half of one would leave the model unloaded.
CLOSE_S = 10.0


class Watch:
    """`start` asks once and then goes on in a task; `aclose` ends it. `lease` raises nothing."""

    def __init__(self, endpoint: Endpoint, *, metrics: Metrics, lease: Lease) -> None:
        self.endpoint = endpoint
        self._metrics = metrics
        self._lease = lease
        self._retries: dict[ModelVersion, tuple[float, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._reload: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it is known whether the server answers."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Lets a reload that began come to its end, within reason."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._reload is not None:
            await asyncio.wait([self._reload], timeout=CLOSE_S)
            self._reload.cancel()
            await asyncio.wait([self._reload])

    async def load(self, model: ModelVersion, config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
        """Endpoint.load, but of many gateways that want it at once one does it: a second load would start it all anew.

        Without a lease it is only waited for so long that the one who got it must have begun.
        """
        started = time.monotonic()
        await self.endpoint.look()
        while model not in self.endpoint.ready:
            waited_s = time.monotonic() - started
            if waited_s > LOAD_S:
                raise EngineFailed(f"model {model} is being loaded for too long")
            ours = await self._lease(self._lease_name(model), LEASE_S) or waited_s > LEASE_S
            if ours and model not in self.endpoint.loading:
                break
            await asyncio.sleep(LEAST_PAUSE_S)
            await self.endpoint.look()
        return await self.endpoint.load(model, config)

    async def _run(self) -> None:
        pause = LEAST_PAUSE_S
        while True:
            was_up = self.endpoint.up
            await self._pause(LOOK_S if was_up else pause)
            try:
                await self._look()
            except Exception:  # only a bug gets here, and a watch that ended would leave the server unwatched
                logger.exception("%s: a look failed", self.endpoint.url)
            # A server that went away is asked soon, then more seldom.
            pause = LEAST_PAUSE_S if was_up else min(2 * pause, LOOK_S)

    async def _pause(self, seconds: float) -> None:
        """So long, or until something looks wrong about a server that is up."""
        if not self.endpoint.up:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.endpoint.suspicion.wait()
                # Many requests that fail at once make one look.
                await asyncio.sleep(LEAST_PAUSE_S)
        self.endpoint.suspicion.clear()

    async def _look(self) -> None:
        endpoint = self.endpoint
        await endpoint.probe()
        if endpoint.up and (endpoint.lost or endpoint.loading):
            with contextlib.suppress(EngineFailed):
                await endpoint.look()
        if endpoint.up and (endpoint.lost or endpoint.dead) and (self._reload is None or self._reload.done()):
            self._reload = asyncio.get_running_loop().create_task(self._reload_all())

    def _lease_name(self, model: ModelVersion) -> str:
        return f"load {self.endpoint.url} {model}"

    async def _reload_all(self) -> None:
        endpoint = self.endpoint
        for model in sorted(endpoint.lost | endpoint.dead):
            retry_at, pause = self._retries.get(model, (0.0, FIRST_RETRY_S))
            if time.monotonic() < retry_at or not await self._lease(self._lease_name(model), LEASE_S):
                continue
            logger.warning("%s: reloading model %s", endpoint.url, model)
            try:
                await endpoint.reload(model)
            except EngineFailed as exc:
                logger.error("%s: model %s cannot be reloaded: %s", endpoint.url, model, exc)
                self._retries[model] = (time.monotonic() + pause, min(2 * pause, LAST_RETRY_S))
            else:
                self._retries.pop(model, None)
                self._metrics.reloads.labels(model.name).inc()
                logger.warning("%s: model %s is back", endpoint.url, model)
