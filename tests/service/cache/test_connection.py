"""The client that gives up early."""

import asyncio

import pytest
from redis.exceptions import RedisError

from service.cache import connect

pytestmark = pytest.mark.anyio


async def test_it_connects_when_it_is_first_used(redis_server):
    async with connect(redis_server().url) as client:
        assert await client.ping()


async def test_nobody_there_is_said_at_once(redis_server):
    server = redis_server()
    server.stop()
    async with connect(server.url) as client:
        with pytest.raises(RedisError):
            await asyncio.wait_for(client.ping(), 10)


async def test_a_server_that_hangs_is_given_up(redis_server):
    server = redis_server()
    server.pause()
    async with connect(server.url) as client:
        with pytest.raises(RedisError):
            await asyncio.wait_for(client.ping(), 10)


async def test_a_socket_file_will_do(tmp_path):
    async with connect(f"unix://{tmp_path}/none.sock") as client:
        with pytest.raises(RedisError, match=r"none\.sock"):
            await client.ping()


async def test_the_url_may_ask_for_more_patience():
    async with connect("redis://localhost/3?socket_timeout=1.5") as client:
        chosen = client.connection_pool.connection_kwargs
        assert (chosen["socket_timeout"], chosen["db"]) == (1.5, 3)


def test_what_is_no_url_of_redis_is_refused():
    with pytest.raises(ValueError, match="redis://"):
        connect("http://localhost")
