"""All that works, built from the settings, and the order it starts and stops in.

    settings → metrics, tracer, engine, threads, cache → batcher → detector → models, access → streams → HTTP

Start: models load, known images are run, then the door opens. Stop, on SIGTERM: not ready, then the door closes,
then what was accepted finishes, then everything closes in reverse.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import cv2
from prometheus_client import CollectorRegistry

from service.access import Keys, Rate, Rates, SharedRates
from service.app.engines import Lease, build_engine, traced
from service.app.lease import FileLease
from service.app.shared_folder import mark_served
from service.batching import Adaptive, Batcher
from service.cache import CacheKeys, CandidateCache, MemoryTier, RedisLease, RedisTier, connect
from service.detector import Detector, ImageLimits
from service.detector.source import DetectorBatcher
from service.engine.cores import usable_cores
from service.engine.protocol import Engine, Target
from service.engine.repository import model_names
from service.errors import StartError
from service.live import StreamLimits, Streams, Turns
from service.metrics import SHARED, Metrics
from service.models import Models
from service.settings import Settings
from service.tracing import Tracer

VERSION = version("yolov7-service")


class Service:
    """`names`: the models to serve, the default one first; all of the repository where none is given.

    `engine`: instead of the one that the settings name. The constructor opens nothing; `start` does. Raises StartError.
    """

    def __init__(self, settings: Settings, names: Sequence[str] = (), *, engine: Engine | None = None) -> None:
        self.settings = settings
        self.names = tuple(names) or (settings.default_model, *model_names(settings.model_repository))
        self.draining = False
        self.metrics = Metrics(CollectorRegistry())
        self.tracer = _build_tracer(settings)
        # The worker threads are the parallelism; OpenCV's own pool within each of them would only compete with it.
        cv2.setNumThreads(1)
        self._thread_count = _thread_count(settings)
        self.threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="worker")
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        self.redis = connect(redis_url) if redis_url else None
        shared = os.environ.get(SHARED) if settings.workers > 1 else None
        self.folder = Path(shared) if shared else None
        self.engine = engine or build_engine(settings, self.metrics, self._lease())
        self.batcher: DetectorBatcher = Batcher(
            self.engine.infer if self.tracer is None else traced(self.engine, self.tracer),
            Adaptive(most_running=self.engine.parallelism, largest=self._largest),
            capacity=settings.queue_capacity,
            metrics=self.metrics,
        )
        self.cache = self._build_cache()
        self.detector = Detector(
            self.batcher,
            self.threads,
            places=settings.max_in_flight,
            thread_count=self._thread_count,
            limits=_image_limits(settings),
            metrics=self.metrics,
            keys=_cache_keys(settings),
            cache=self.cache,
        )
        self.models = Models(
            settings.model_repository,
            self.engine,
            self.detector,
            interval_s=settings.known_image_interval_s,
            metrics=self.metrics,
        )
        self.keys = Keys(settings.keys_file, metrics=self.metrics)
        if settings.workers > 1 and redis_url is None and self.keys.rated:
            raise StartError("keys_file: each of several workers would grant a key's rate; they need redis_url")
        self.rates = Rates(
            default=Rate.parse(settings.rate) if settings.rate else None,
            anonymous=Rate.parse(settings.anonymous_rate) if settings.anonymous_rate else None,
            shared=SharedRates(redis_url, metrics=self.metrics) if redis_url else None,
        )
        self.streams = Streams(
            self.detector,
            self.models,
            keys=self.keys,
            rates=self.rates,
            turns=Turns(self._most_turns, self.detector.has_room),
            limits=_stream_limits(settings),
            metrics=self.metrics,
        )
        self.metrics.build_info.labels(VERSION, settings.engine).set(1)
        self.metrics.started_at.set_to_current_time()

    async def start(self) -> None:
        """Loads the models and runs their known images, now and then on a timer. Compiling takes seconds.

        Raises StartError where the default model cannot be served.
        """
        if self.tracer is not None:
            self.tracer.start()
        await self.engine.start()
        await self.rates.start()
        await self.models.start(self.names)
        if self.folder is not None:
            mark_served(self.folder)

    async def aclose(self) -> None:
        """Finishes what was accepted and frees everything, last built first."""
        self.streams.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s):
                await self.streams.closed()
        await self.models.aclose()
        await self.batcher.aclose()
        await self.rates.aclose()
        if self.cache is not None:
            await self.cache.aclose()
        await self.engine.aclose()
        if self.redis is not None:
            await self.redis.aclose()
        await asyncio.to_thread(self.threads.shutdown)
        if self.tracer is not None:
            await self.tracer.aclose()

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, by what is amiss; empty when it is."""
        return {"service": "shutting down"} if self.draining else self.models.reasons()

    def _largest(self, target: Target) -> int:
        return self.models.largest(target.model)

    def _most_turns(self) -> int:
        """How many frames of streams keep the threads and the engine busy, with the next batch; more would only age."""
        threads = self._thread_count
        fed = self.batcher.images_running + max(threads, self.batcher.next_size)
        return min(max(fed, threads + self.engine.parallelism), self.settings.max_in_flight)

    def _lease(self) -> Lease:
        """Among all gateways at one Redis, or the workers of one parent; else there is nobody to share with."""
        if self.redis is not None:
            return RedisLease(self.redis).hold
        return _always if self.folder is None else FileLease(self.folder).hold

    def _build_cache(self) -> CandidateCache | None:
        settings = self.settings
        memory = shared = None
        if settings.cache_memory_bytes:
            memory = MemoryTier(
                settings.cache_memory_bytes, ttl_s=settings.cache_ttl_s, metrics=self.metrics, clock=time.monotonic
            )
        if self.redis is not None:
            shared = RedisTier(self.redis, ttl_s=settings.cache_ttl_s, metrics=self.metrics)
        absent = memory is None and shared is None
        return None if absent else CandidateCache(memory, shared, metrics=self.metrics)


def _build_tracer(settings: Settings) -> Tracer | None:
    if settings.trace_endpoint is None:
        return None
    try:
        # Raises where it is no number, which would show only later.
        _ = urlsplit(settings.trace_endpoint).port
        return Tracer(settings.trace_endpoint, version=VERSION)
    except ImportError as exc:
        raise StartError("trace_endpoint needs OpenTelemetry: pip install 'yolov7-service[tracing]'") from exc
    except ValueError:
        # Not repeated: a message of urllib's may hold a part of the URL, and that a password.
        raise StartError("trace_endpoint: it must be a URL such as http://collector:4318") from None


def _thread_count(settings: Settings) -> int:
    """One per core, beside an embedded engine too: with fewer it would wait for pictures of 1920×1080 to be decoded."""
    return settings.worker_threads or usable_cores()


def _image_limits(settings: Settings) -> ImageLimits:
    formats = frozenset(name.strip().upper() for name in settings.formats.split(","))
    return ImageLimits(settings.max_pixels, settings.max_frames, formats)


def _stream_limits(settings: Settings) -> StreamLimits:
    longest_s = settings.max_request_timeout_ms / 1000
    return StreamLimits(
        max_streams=settings.max_streams, credits=settings.stream_credits, max_age_s=longest_s, timeout_s=longest_s
    )


def _cache_keys(settings: Settings) -> CacheKeys:
    # Without a secret the cache is this process's own, and so is the key of its hashes.
    secret = settings.cache_secret
    return CacheKeys(secret.get_secret_value().encode() if secret else secrets.token_bytes(32))


async def _always(name: str, seconds: float) -> bool:
    """The lease of a gateway that has nobody to share with."""
    return True
