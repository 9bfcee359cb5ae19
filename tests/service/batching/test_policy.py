"""What to run next, with the clock moved by hand."""

import asyncio

import pytest

from service.batching.policy import OldestFirst
from service.batching.queue import Entry, Queue

pytestmark = pytest.mark.anyio

E = Entry[str, str, str]


def queue_of(*entries: E) -> Queue[str, str, str]:
    queue: Queue[str, str, str] = Queue(100)
    for entry in entries:
        queue.append(entry)
    return queue


def entry(payload: str, *, group: str = "a", deadline: float = 10.0) -> E:
    return Entry(group, payload, 0.0, deadline, asyncio.get_running_loop().create_future())


async def test_an_empty_queue_gives_an_empty_batch():
    assert OldestFirst[str, str, str](4).decide(0.0, queue_of()).batch == ()


async def test_a_single_entry_does_not_wait_for_company():
    only = entry("x")
    assert OldestFirst[str, str, str](4).decide(0.0, queue_of(only)).batch == (only,)


async def test_a_batch_holds_the_oldest_group_only_in_order():
    x, y, z = entry("x", group="b"), entry("y", group="a"), entry("z", group="b")
    assert OldestFirst[str, str, str](4).decide(0.0, queue_of(x, y, z)).batch == (x, z)


async def test_a_batch_is_no_larger_than_allowed():
    entries = [entry(str(n)) for n in range(5)]
    assert OldestFirst[str, str, str](2).decide(0.0, queue_of(*entries)).batch == tuple(entries[:2])


async def test_expired_and_cancelled_entries_are_skipped_and_named():
    late, gone, alive = entry("late", deadline=1.0), entry("gone"), entry("alive")
    gone.future.cancel()
    policy = OldestFirst[str, str, str](4)
    assert policy.decide(0.9, queue_of(late, gone, alive)).expired == ()
    decision = policy.decide(1.0, queue_of(late, gone, alive))
    assert (decision.batch, decision.expired, decision.cancelled) == ((alive,), (late,), (gone,))


async def test_deciding_changes_nothing():
    queue = queue_of(entry("x", deadline=0.0), entry("y"))
    OldestFirst[str, str, str](4).decide(1.0, queue)
    assert len(queue) == 2
