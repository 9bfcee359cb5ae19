"""Leases on a real Redis."""

import asyncio
import contextlib

import pytest
from redis import Redis

from service.cache import RedisLease, connect
from service.cache.lease import PREFIX

pytestmark = pytest.mark.anyio


@pytest.fixture
async def make_lease():
    async with contextlib.AsyncExitStack() as opened:

        def make(url: str) -> RedisLease:
            client = connect(url)
            opened.push_async_callback(client.aclose)
            return RedisLease(client)

        yield make


async def test_of_many_one_holds(redis_server, make_lease):
    url = redis_server().url
    leases = [make_lease(url) for _ in range(5)]
    assert sum(await asyncio.gather(*(lease.hold("model", 60) for lease in leases))) == 1


async def test_the_holder_renews_and_nobody_else_can(redis_server, make_lease):
    url = redis_server().url
    holder, other = make_lease(url), make_lease(url)
    assert await holder.hold("model", 10)
    assert not await other.hold("model", 60)
    assert await holder.hold("model", 60)
    with Redis.from_url(url) as client:
        assert 10_000 < client.pttl(PREFIX + "model") <= 60_000


async def test_leases_of_different_names_are_apart(redis_server, make_lease):
    url = redis_server().url
    assert await make_lease(url).hold("one", 60)
    assert await make_lease(url).hold("other", 60)


async def test_a_lease_that_has_ended_goes_to_the_next(redis_server, make_lease):
    url = redis_server().url
    holder, other = make_lease(url), make_lease(url)
    assert await holder.hold("model", 0.05)
    async with asyncio.timeout(10):
        while not await other.hold("model", 60):
            pass
    assert not await holder.hold("model", 60)


@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_with_redis_away_nobody_holds_and_the_log_says_why(redis_server, make_lease, caplog, how):
    server = redis_server()
    lease = make_lease(server.url)
    getattr(server, how)()
    assert not await asyncio.wait_for(lease.hold("model", 60), 10)
    assert "no lease on model" in caplog.text
