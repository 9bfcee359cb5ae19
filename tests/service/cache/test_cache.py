"""The two tiers as one."""

import pytest

from service.cache import CandidateCache, MemoryTier

pytestmark = pytest.mark.anyio


async def test_without_tiers_every_look_up_is_a_miss(metrics, make_entry, counted):
    cache = CandidateCache(None, None, metrics=metrics)
    cache.put(b"key", make_entry())
    assert cache.lookup_memory(b"key") is None
    assert await cache.lookup_shared(b"key") is None
    assert counted("miss") == 1
    assert not cache.is_shared
    await cache.aclose()


async def test_memory_alone_answers_from_memory(metrics, clock, make_entry, counted):
    cache = CandidateCache(MemoryTier(10**6, ttl_s=60, metrics=metrics, clock=clock), None, metrics=metrics)
    entry = make_entry()
    cache.put(b"key", entry)
    assert cache.lookup_memory(b"key") is entry
    assert cache.lookup_memory(b"other") is None
    assert (counted("hit_memory"), counted("miss")) == (1, 0)
    await cache.aclose()


async def test_what_another_replica_found_is_shared_and_then_in_memory(
    redis_server, make_cache, make_entry, same, counted
):
    url = redis_server().url
    first, second = make_cache(url), make_cache(url)
    first.put(b"key", make_entry())
    await first.aclose()
    assert second.lookup_memory(b"key") is None
    assert same(await second.lookup_shared(b"key"), make_entry())
    assert same(second.lookup_memory(b"key"), make_entry())
    assert (counted("hit_redis"), counted("hit_memory"), counted("miss")) == (1, 1, 0)


async def test_the_shared_tier_works_alone(redis_server, make_tier, metrics, make_entry, same):
    url = redis_server().url
    first = CandidateCache(None, make_tier(url), metrics=metrics)
    second = CandidateCache(None, make_tier(url), metrics=metrics)
    assert first.is_shared
    first.put(b"key", make_entry())
    await first.aclose()
    assert second.lookup_memory(b"key") is None
    assert same(await second.lookup_shared(b"key"), make_entry())


async def test_with_redis_away_memory_goes_on(redis_server, make_cache, make_entry):
    server = redis_server()
    cache = make_cache(server.url)
    server.kill()
    entry = make_entry()
    cache.put(b"key", entry)
    assert await cache.lookup_shared(b"key") is None
    assert cache.lookup_memory(b"key") is entry
