"""The tier in Redis, on a real one that is stopped, killed, paused and filled."""

import asyncio
import logging
import time

import pytest
from redis import Redis

from service.cache.shared import PREFIX, READS, WAITING, WRITERS

pytestmark = pytest.mark.anyio


async def written(tier) -> None:
    """All that waits is in Redis."""
    if tier._writers:
        await asyncio.wait(tier._writers, timeout=10)


async def read_out(tier) -> None:
    """Reads whose look-up gave up have ended."""
    if tier._reads:
        await asyncio.wait(set(tier._reads), timeout=10)


async def test_what_one_replica_puts_another_gets(redis_server, make_tier, make_entry, same, counted):
    url = redis_server().url
    first, second = make_tier(url), make_tier(url)
    assert await second.get(b"key") is None
    first.put(b"key", make_entry())
    await written(first)
    assert same(await second.get(b"key"), make_entry())
    assert (counted("miss"), counted("hit_redis")) == (1, 1)


async def test_what_is_written_expires(redis_server, make_tier, make_entry):
    url = redis_server().url
    tier = make_tier(url, ttl_s=7.5)
    tier.put(b"key", make_entry())
    await written(tier)
    with Redis.from_url(url) as client:
        assert 0 < client.pttl(PREFIX + b"key") <= 7500


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 10, b"YCI\x01" + bytes(40)])
async def test_damaged_bytes_are_a_miss(redis_server, make_tier, counted, metrics, damage):
    url = redis_server().url
    with Redis.from_url(url) as client:
        client.set(PREFIX + b"key", damage)
    assert await make_tier(url).get(b"key") is None
    assert counted("damaged") == 1
    assert metrics.registry.get_sample_value("yolov7_errors_total", {"kind": "cache"}) == 1


async def test_a_value_of_another_kind_is_an_error_and_a_miss(redis_server, make_tier, counted):
    url = redis_server().url
    with Redis.from_url(url) as client:
        client.lpush(PREFIX + b"key", "not a string")
    assert await make_tier(url).get(b"key") is None
    assert counted("error") == 1


async def test_a_killed_redis_is_left_alone_and_found_again(
    redis_server, make_tier, make_entry, same, clock, counted, caplog
):
    caplog.set_level(logging.INFO, "service.cache")
    server = redis_server()
    tier = make_tier(server.url)
    await tier.get(b"key")
    server.kill()
    assert [await tier.get(b"key") for _ in range(20)] == [None] * 20
    assert (counted("error"), counted("skipped")) == (3, 17)
    server.start()
    clock.now += 0.5
    assert await tier.get(b"key") is None
    tier.put(b"key", make_entry())
    await written(tier)
    assert same(await tier.get(b"key"), make_entry())
    opened, closed = (record.message for record in caplog.records)
    assert "left alone" in opened
    assert "answers again" in closed


async def test_a_restart_between_look_ups_is_not_even_noticed(redis_server, make_tier, counted):
    server = redis_server()
    tier = make_tier(server.url)
    await tier.get(b"key")
    server.kill()
    server.start()
    await asyncio.sleep(0.01)
    await tier.get(b"key")
    assert (counted("miss"), counted("error")) == (2, 0)


async def test_a_paused_redis_costs_the_budget_a_few_times_and_is_found_again(redis_server, make_tier, clock, counted):
    server = redis_server()
    tier = make_tier(server.url, budget_s=0.05)
    server.pause()
    for _ in range(20):
        assert await asyncio.wait_for(tier.get(b"key"), 10) is None
    assert (counted("late"), counted("skipped")) == (3, 17)
    server.resume()
    await read_out(tier)
    while not counted("miss"):
        clock.now += 5
        await tier.get(b"key")
        await read_out(tier)


async def test_a_probe_that_fails_is_followed_by_silence(redis_server, make_tier, clock, counted):
    server = redis_server()
    tier = make_tier(server.url)
    server.stop()
    for now in (0, 0, 0, 0.4, 0.6, 1.5, 1.7):
        clock.now = now
        await tier.get(b"key")
    assert (counted("error"), counted("skipped")) == (5, 2)


async def test_a_late_answer_costs_no_connection(redis_server, make_tier, counted):
    server = redis_server()
    tier = make_tier(server.url, budget_s=0.02)
    await tier._client.ping()
    server.pause()
    assert await tier.get(b"key") is None
    server.resume()
    await read_out(tier)
    with Redis.from_url(server.url) as client:
        assert client.info("stats")["total_connections_received"] == 2
    assert counted("late") == 1


async def test_whoever_goes_on_without_the_answer_does_not_end_the_read(redis_server, make_tier, counted):
    server = redis_server()
    tier = make_tier(server.url)
    server.pause()
    look_up = asyncio.create_task(tier.get(b"key"))
    await asyncio.sleep(0)
    look_up.cancel()
    await asyncio.wait([look_up])
    assert len(tier._reads) == 1
    assert counted("late") == 1
    server.resume()
    await read_out(tier)


async def test_an_event_loop_that_was_busy_is_not_held_against_redis(redis_server, make_tier, clock):
    tier = make_tier(redis_server().url, budget_s=0.01)
    tier._clock = time.monotonic
    await tier._client.ping()
    for _ in range(5):
        look_up = asyncio.create_task(tier.get(b"key"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - it is what is being tested
        await look_up
    assert not tier._breaker.is_open


async def test_no_more_is_read_at_once_than_there_are_connections_for(redis_server, make_tier, counted):
    server = redis_server()
    tier = make_tier(server.url, budget_s=0.05)
    server.pause()
    await asyncio.gather(*(tier.get(b"key") for _ in range(READS + 10)))
    assert (counted("late"), counted("skipped")) == (READS, 10)
    server.resume()


async def test_writes_are_bounded_and_what_is_too_much_is_dropped(redis_server, make_tier, make_entry, counted):
    server = redis_server()
    tier = make_tier(server.url)
    server.pause()
    for number in range(WAITING + 50):
        tier.put(bytes([number]), make_entry())
    assert len(tier._writers) == WRITERS
    assert counted("dropped") == 50
    server.resume()
    await written(tier)
    assert counted("dropped") == 50
    with Redis.from_url(server.url) as client:
        assert client.dbsize() == WAITING


async def test_writes_to_a_redis_that_is_away_open_the_breaker_and_are_dropped(
    redis_server, make_tier, make_entry, counted
):
    server = redis_server()
    tier = make_tier(server.url)
    server.stop()
    for number in range(10):
        tier.put(bytes([number]), make_entry())
    await written(tier)
    tier.put(b"key", make_entry())
    assert counted("dropped") == 11
    await tier.get(b"key")
    assert counted("skipped") == 1


async def test_a_full_redis_takes_no_writes_and_still_answers(redis_server, make_tier, make_entry, counted):
    server = redis_server()
    tier = make_tier(server.url)
    with Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
    for number in range(10):
        tier.put(bytes([number]), make_entry())
    await written(tier)
    assert counted("dropped") == 10
    await tier.get(b"key")
    assert counted("miss") == 1


async def test_closing_writes_what_was_accepted_and_then_nothing_more(redis_server, make_tier, make_entry, counted):
    server = redis_server()
    tier = make_tier(server.url)
    tier.put(b"key", make_entry())
    await tier.aclose()
    tier.put(b"other", make_entry())
    with Redis.from_url(server.url) as client:
        assert client.keys() == [PREFIX + b"key"]
    assert await tier.get(b"key") is None
    assert (counted("dropped"), counted("skipped")) == (1, 1)


async def test_closing_does_not_wait_for_a_redis_that_hangs(redis_server, make_tier, make_entry, counted):
    server = redis_server()
    tier = make_tier(server.url)
    server.pause()
    look_up = asyncio.create_task(tier.get(b"key"))
    for number in range(20):
        tier.put(bytes([number]), make_entry())
    await asyncio.sleep(0)
    await asyncio.wait_for(tier.aclose(), 10)
    assert await look_up is None
    assert not tier._reads
    assert not tier._writers
    server.resume()
