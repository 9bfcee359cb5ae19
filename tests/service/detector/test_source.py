"""Where candidates come from: memory, a flight, a real Redis that may die, the engine. All must give the same."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from redis.asyncio import Redis

from service.app import Service
from service.cache import CachedImage, CacheKeys, CandidateCache
from service.detector import Detected, ImageLimits, Served
from service.detector.source import HASHED_IN_PLACE_BYTES, CandidateSource, Found
from service.engine.protocol import Target
from service.errors import DeadlineExceeded, EngineFailed, UndecodableImage
from service.vision.detections import Candidates

pytestmark = pytest.mark.anyio

Detect = Callable[..., Awaitable[Detected]]
Encode = Callable[..., bytes]
MakeService = Callable[..., Awaitable[Service]]
Sample = Callable[..., float]
LIMITS = ImageLimits(10**6, 10, frozenset({"PNG"}))


def source_of(service: Service) -> CandidateSource:
    return CandidateSource(
        service.batcher,
        service.threads,
        limits=LIMITS,
        metrics=service.metrics,
        cache=service.cache,
        keys=CacheKeys(b"a secret"),
    )


async def find(
    source: CandidateSource, data: bytes, served: Served, *, timeout_s: float = 10.0, caching: str = "use"
) -> Found:
    async with asyncio.timeout(timeout_s):
        return await source.find(data, served, deadline=time.monotonic() + timeout_s, caching=caching)


def dotted(n: int) -> NDArray[np.uint8]:
    """A picture with one cell of its own."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[8 * (n % 16) :][:8, 8 * (n // 16) :][:, :8, n % 3] = 255
    return image


def assert_equal(one: Candidates, other: Candidates) -> None:
    for name in ("boxes", "scores", "classes", "predictions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


async def test_the_same_picture_is_inferred_once(make_service: MakeService, png: bytes, sample: Sample):
    service = await make_service()
    source, served = source_of(service), service.models.resolve()
    first, second = [await find(source, png, served) for _ in range(2)]
    assert (first.result, second.result) == ("miss", "hit_memory")
    assert second.entry is first.entry
    assert (list(first.stage_seconds), list(second.stage_seconds)) == (
        ["decode", "preprocess", "infer", "cache"],
        ["cache"],
    )
    assert sample(service, "cache_total", result="miss") == sample(service, "cache_total", result="hit_memory") == 1


async def test_a_cached_answer_equals_a_fresh_one(service: Service, encode: Encode, detect: Detect):
    for n in range(5):
        data = encode(dotted(n))
        fresh, missed, cached = [await detect(service, data, caching=how) for how in ("off", "use", "use")]
        assert [found.cache for found in (fresh, missed, cached)] == ["off", "miss", "hit_memory"]
        for found in (missed, cached):
            np.testing.assert_array_equal(fresh.detections.boxes, found.detections.boxes)
            np.testing.assert_array_equal(fresh.detections.scores, found.detections.scores)


async def test_changed_thresholds_are_hits(service: Service, encode: Encode, detect: Detect):
    data = encode(dotted(50))
    assert (await detect(service, data, caching="use")).cache == "miss"
    for options in ({"confidence": 0.9}, {"iou": 0.1}, {"classes": (1,)}, {"max_detections": 1}, {"multi_label": True}):
        assert (await detect(service, data, caching="use", **options)).cache == "hit_memory"


async def test_off_neither_reads_nor_writes(service: Service, encode: Encode):
    source, served, data = source_of(service), service.models.resolve(), encode(dotted(51))
    results = [(await find(source, data, served, caching=how)).result for how in ("off", "use", "off", "use")]
    assert results == ["off", "miss", "off", "hit_memory"]


async def test_without_a_cache_everything_is_inferred(make_service: MakeService, png: bytes, sample: Sample):
    service = await make_service(cache_memory_bytes=0)
    source, served = source_of(service), service.models.resolve()
    for caching in ("use", "refresh", "off"):
        assert (await find(source, png, served, caching=caching)).result == "off"
    assert sample(service, "inferences_total", model="blocks", version="1") == 3


async def test_refresh_infers_anew_and_is_kept(service: Service, encode: Encode):
    source, served, data = source_of(service), service.models.resolve(), encode(dotted(52))
    old = await find(source, data, served)
    new = await find(source, data, served, caching="refresh")
    kept = await find(source, data, served)
    assert (new.result, kept.result) == ("refresh", "hit_memory")
    assert new.entry is not old.entry
    assert kept.entry is new.entry


async def test_another_version_or_precision_is_another_picture(service: Service, encode: Encode):
    """The same graph under other names: what is cached of one says nothing of the other."""
    source, served, data = source_of(service), service.models.resolve(), encode(dotted(53))
    await find(source, data, served)
    retrained = Served(replace(served.spec, sha256="0" * 64), served.passport)
    narrowed = Served(served.spec, replace(served.passport, precision="bf16"))
    for other in (retrained, narrowed):
        assert (await find(source, data, other)).result == "miss"


async def test_a_large_picture_is_hashed_all_the_same(service: Service, encode: Encode):
    data = encode(np.random.default_rng(1).integers(0, 255, (700, 700, 3), np.uint8))
    assert len(data) > HASHED_IN_PLACE_BYTES
    source, served = source_of(service), service.models.resolve()
    first, second = [await find(source, data, served) for _ in range(2)]
    assert (first.result, second.result) == ("miss", "hit_memory")


async def test_what_cannot_be_decoded_is_told_each_time(make_service: MakeService, png: bytes, sample: Sample):
    service = await make_service()
    source, served = source_of(service), service.models.resolve()
    for _ in range(2):
        with pytest.raises(UndecodableImage):
            await find(source, png[:60], served)
    assert sample(service, "cache_total", result="miss") == 2
    assert sample(service, "cache_bytes") == source.ahead(0).images == 0


async def test_a_failed_inference_is_not_kept(make_service: MakeService, engine_with_switch, png: bytes):
    service = await make_service(engine_with_switch)
    source, served = source_of(service), service.models.resolve()
    engine_with_switch.error = EngineFailed("down")
    with pytest.raises(EngineFailed):
        await find(source, png, served)
    engine_with_switch.error = None
    assert (await find(source, png, served)).result == "miss"


async def test_identical_pictures_in_flight_are_inferred_once(
    make_service: MakeService, engine_with_switch, png: bytes, sample: Sample
):
    service = await make_service(engine_with_switch)
    source, served, before = source_of(service), service.models.resolve(), engine_with_switch.batches
    first, *others = await asyncio.gather(*(find(source, png, served) for _ in range(6)))
    assert [first.result, *(found.result for found in others)] == ["miss", *["collapsed"] * 5]
    assert engine_with_switch.batches - before == 1
    assert all(found.entry is first.entry for found in others)
    # They waited for the engine, but decoded and inferred nothing themselves.
    assert {tuple(found.stage_seconds) for found in others} == {("cache",)}
    assert sample(service, "cache_total", result="collapsed") == 5


async def test_one_who_expires_while_another_waits_harms_nobody(
    make_service: MakeService, engine_with_switch, png: bytes
):
    service = await make_service(engine_with_switch)
    source, served = source_of(service), service.models.resolve()
    engine_with_switch.gate.clear()
    patient = asyncio.ensure_future(find(source, png, served))
    with pytest.raises(TimeoutError):
        await find(source, png, served, timeout_s=0.05)
    engine_with_switch.gate.set()
    assert (await patient).entry.image_hw == (128, 128)


@pytest.fixture
def punctual_engine(engine_with_switch):
    """Minds the deadline as a remote engine does: a batch is given up when nobody waited longer at its start."""
    held = engine_with_switch.infer

    async def infer(target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float) -> Sequence[Candidates]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await held(target, images, deadline=deadline)
        except TimeoutError:
            raise DeadlineExceeded("the engine gave up") from None

    engine_with_switch.infer = infer
    return engine_with_switch


async def test_who_joins_with_more_patience_than_the_batch_has_is_answered(
    make_service: MakeService, punctual_engine, png: bytes, until: Callable[..., Awaitable[None]]
):
    service = await make_service(punctual_engine)
    source, served, before = source_of(service), service.models.resolve(), punctual_engine.batches
    punctual_engine.gate.clear()
    hasty = asyncio.ensure_future(find(source, png, served, timeout_s=0.3))
    await until(lambda: punctual_engine.batches > before)
    patient = asyncio.ensure_future(find(source, png, served))
    await asyncio.wait([hasty])
    punctual_engine.gate.set()
    assert isinstance(hasty.exception(), DeadlineExceeded | TimeoutError)
    assert (await patient).entry.image_hw == (128, 128)


@pytest.fixture
async def share(make_service: MakeService, redis_server) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Services that share one Redis and keep nothing in memory; `share.redis` is that Redis."""
    redis = redis_server()

    async def make(**changes: object) -> Service:
        given = {"redis_url": redis.url, "cache_secret": "the same", "cache_memory_bytes": 0} | changes
        return await make_service(**given)

    make.redis = redis
    yield make
    redis.kill()


async def written(url: str, entries: int) -> None:
    """Until Redis holds so many."""
    async with Redis.from_url(url) as client:
        for _ in range(1000):
            if await client.dbsize() >= entries:
                return
            await asyncio.sleep(0.01)
    raise AssertionError("they were never written")


async def detect_from_redis(detect: Detect, service: Service, data: bytes) -> Detected:
    """The first look-ups may be late, which is a miss, while the connection is made."""
    async with asyncio.timeout(10):
        while (found := await detect(service, data, caching="use")).cache != "hit_redis":
            assert found.cache == "miss"
    return found


async def test_two_services_share_what_either_has_seen(share, encode: Encode, detect: Detect, sample: Sample):
    one, other = await share(), await share()
    data = encode(dotted(3))
    fresh = await detect(one, data, caching="use")
    await written(share.redis.url, 1)
    shared = await detect_from_redis(detect, other, data)
    np.testing.assert_array_equal(fresh.detections.boxes, shared.detections.boxes)
    np.testing.assert_array_equal(fresh.detections.scores, shared.detections.scores)
    assert shared.image_hw == fresh.image_hw
    assert shared.stage_seconds["infer"] == 0
    assert sample(other, "cache_total", result="hit_redis") == 1


async def test_a_hit_in_redis_is_then_one_in_memory(share, encode: Encode, detect: Detect):
    one, other = await share(), await share(cache_memory_bytes=10**6)
    pictures = [encode(dotted(n)) for n in range(30)]
    for data in pictures:
        await detect(one, data, caching="use")
    await written(share.redis.url, len(pictures))
    for data in pictures:
        if (await detect(other, data, caching="use")).cache == "hit_redis":
            assert (await detect(other, data, caching="use")).cache == "hit_memory"
            return
    raise AssertionError("not one was found in Redis")


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_redis_that_goes_away_is_a_miss_and_comes_back(
    share, encode: Encode, detect: Detect, sample: Sample, how: str
):
    service, data = await share(), encode(dotted(4))
    await detect(service, data, caching="use")
    await detect_from_redis(detect, service, data)
    getattr(share.redis, how)()
    async with asyncio.timeout(10):
        # In the end it is not even asked any more.
        while not sample(service, "cache_total", result="skipped"):
            found = await detect(service, data, caching="use")
            assert (found.cache, len(found.detections)) == ("miss", 1)
    share.redis.start() if how == "kill" else share.redis.resume()
    assert (await detect_from_redis(detect, service, data)).image_hw == (128, 128)


class SlowCache(CandidateCache):
    """A shared cache that has the entry, and answers when it is told to."""

    def __init__(self, service: Service, entry: CachedImage) -> None:
        super().__init__(None, None, metrics=service.metrics)
        self.entry = entry
        self.answers = asyncio.Event()

    is_shared = True

    async def lookup_shared(self, key: bytes) -> CachedImage | None:
        await self.answers.wait()
        return self.entry


@pytest.mark.parametrize(("in_time", "result"), [(True, "hit_redis"), (False, "miss")])
async def test_the_shared_cache_has_the_time_that_decoding_takes(
    make_service: MakeService, png: bytes, sample: Sample, in_time: bool, result: str
):
    service = await make_service(worker_threads=1)
    source, served = source_of(service), service.models.resolve()
    source._cache = cache = SlowCache(service, (await find(source, png, served)).entry)
    # Decoding takes as long as this.
    plug = threading.Event()
    service.threads.submit(plug.wait)
    finding = asyncio.ensure_future(find(source, png, served))
    await asyncio.sleep(0.02)
    if in_time:
        cache.answers.set()
    await asyncio.sleep(0)
    plug.set()
    found = await finding
    assert (found.result, found.entry is cache.entry) == (result, in_time)
    assert sample(service, "inferences_total", model="blocks", version="1") == (1 if in_time else 2)
