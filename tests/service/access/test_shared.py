"""Rates in a real Redis that is killed, paused and brought back; the pauses between trials by a clock moved by hand."""

import asyncio
import itertools
import logging

import pytest

from service.access import Rate, SharedRates
from service.access.shared import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_CONNECTIONS
from service.errors import RateLimited, SettingsError

pytestmark = pytest.mark.anyio

HOURLY = Rate(5, 3600)


@pytest.fixture
async def make_shared(metrics, clock, redis_process):
    """With a budget that a loaded machine does not exceed, unless told otherwise."""
    made = []

    def make(url=redis_process.url, budget_s=10.0):
        made.append(SharedRates(url, metrics=metrics, budget_s=budget_s, clock=clock))
        return made[-1]

    yield make
    for shared in made:
        await shared.aclose()


def failures(metrics):
    return metrics.registry.get_sample_value("yolov7_errors_total", {"kind": "rates"})


async def test_two_processes_count_together(make_shared):
    one, other = make_shared(), make_shared()
    left = [(await shared.take(HOURLY, "together")).remaining for shared in (one, other, one, other, one)]
    assert left == [4, 3, 2, 1, 0]
    for shared in (one, other):
        with pytest.raises(RateLimited) as refusal:
            await shared.take(HOURLY, "together")
        assert (refusal.value.limit, refusal.value.window_s) == (5, 3600)
        assert 3000 < refusal.value.retry_after_s <= 3600


async def test_many_at_once_are_counted_exactly(make_shared):
    shared = make_shared()
    # No more than there are connections: how long others wait for one is the machine's business.
    crowd = (shared.take(Rate(10, 3600), "crowd") for _ in range(MOST_CONNECTIONS))
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(isinstance(answer, RateLimited) for answer in answers) == MOST_CONNECTIONS - 10
    assert None not in answers


async def test_counters_are_prefixed_and_expire(make_shared):
    shared = make_shared()
    await shared.take(HOURLY, "prefixed")
    redis = shared._storage.bridge.storage
    [key] = await redis.keys("*prefixed*")
    assert key == b"yolov7:{rates/prefixed/5/3600}"
    assert 0 < await redis.pttl(key) <= 2 * 3600 * 1000


async def test_a_killed_redis_is_worked_around_and_found_again(make_shared, metrics, clock, redis_process, caplog):
    caplog.set_level(logging.INFO)
    shared = make_shared()
    assert await shared.take(HOURLY, "killed")
    redis_process.kill()
    for _ in range(20):
        assert await shared.take(HOURLY, "killed") is None
    assert failures(metrics) == 1
    redis_process.start()
    clock.now += FIRST_PAUSE_S
    assert await shared.take(HOURLY, "killed") is None  # this one sends for a trial and does not wait for it
    await asyncio.wait_for(shared._trial, 30)
    assert (await shared.take(HOURLY, "killed")).remaining == 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


async def test_a_paused_redis_costs_one_wait(make_shared, metrics, redis_process):
    shared = make_shared(budget_s=0.02)
    redis_process.pause()
    try:
        for _ in range(20):
            assert await asyncio.wait_for(shared.take(HOURLY, "paused"), 30) is None
        assert failures(metrics) == 1
        await asyncio.wait_for(shared.aclose(), 30)
    finally:
        redis_process.resume()


async def test_a_wait_in_vain_leaves_no_answer_behind_for_the_next(make_shared, clock, redis_process):
    shared = make_shared(budget_s=0.1)
    await shared.trial()
    redis_process.pause()
    try:
        many = [shared.take(Rate(1, 3600), f"vain-{n}") for n in range(10)]
        assert await asyncio.wait_for(asyncio.gather(*many), 30) == [None] * 10
    finally:
        redis_process.resume()
    shared._budget_s = 10.0
    await shared.trial()
    assert [(await shared.take(Rate(100 + n, 3600), "next")).remaining for n in range(10)] == list(range(99, 109))


async def test_pauses_between_trials_grow_to_a_bound(make_shared, metrics, clock, tmp_path):
    shared = make_shared(f"unix://{tmp_path}/nobody")
    await shared.trial()
    trials = []
    while clock.now < 130:
        await shared.take(HOURLY, "growing")
        if shared._trial and not shared._trial.done():
            trials.append(clock.now - 100)
            await shared._trial
        clock.now += 0.25
    gaps = [round(after - before, 2) for before, after in itertools.pairwise(trials)]
    assert trials[0] == FIRST_PAUSE_S
    assert gaps[:5] == [1, 2, 4, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert failures(metrics) == 1 + len(trials)


async def test_a_redis_that_cannot_count_is_as_one_that_is_away(make_shared, redis_process, clock):
    shared = make_shared()
    redis = shared._storage.bridge.storage
    await redis.config_set("maxmemory", "1")
    try:
        await shared.trial()
        assert not shared.answering
    finally:
        await redis.config_set("maxmemory", "0")
    await shared.trial()
    assert shared.answering


async def test_who_closes_ends_a_trial(make_shared, clock, redis_process):
    shared = make_shared(budget_s=0.02)
    redis_process.pause()
    try:
        await shared.take(HOURLY, "closing")
        clock.now += 1.0
        await shared.take(HOURLY, "closing")
        await asyncio.wait_for(shared.aclose(), 30)
        assert shared._trial.cancelled()
    finally:
        redis_process.resume()


@pytest.mark.parametrize(
    "url", ["", "http://me:secret@host", "redis://me:secret@host:port", "redis://h/?socket_timeout=x"]
)
def test_a_bad_url_is_one_line_without_the_password(metrics, url):
    with pytest.raises(SettingsError, match=r"^the Redis URL must be like") as refusal:
        SharedRates(url, metrics=metrics)
    assert "secret" not in str(refusal.value)


async def test_a_password_is_not_logged(make_shared, caplog):
    shared = make_shared("redis://me:secret@127.0.0.1:1/0")
    assert await shared.take(HOURLY, "logged") is None
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


async def test_a_redis_that_came_back_unnoticed_is_simply_used(make_shared, metrics, redis_process):
    shared = make_shared()
    assert await shared.take(HOURLY, "unnoticed")
    redis_process.kill()
    redis_process.start()
    assert await shared.take(HOURLY, "unnoticed")
    assert failures(metrics) == 0
