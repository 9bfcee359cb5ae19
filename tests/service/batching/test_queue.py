"""The bounded queue."""

import asyncio

import pytest

from service.batching.queue import Answer, Entry, Queue
from service.errors import Overloaded

pytestmark = pytest.mark.anyio


def entry(group: str = "g") -> Entry[str, int, int]:
    return Entry(group, 0, 0.0, 1.0, asyncio.get_running_loop().create_future())


async def test_a_full_queue_refuses_at_once_and_takes_again_when_one_leaves():
    queue: Queue[str, int, int] = Queue(2)
    first, second, third = entry(), entry(), entry()
    queue.append(first)
    queue.append(second)
    with pytest.raises(Overloaded, match="2 images"):
        queue.append(third)
    assert queue.remove(first)
    queue.append(third)
    assert list(queue) == [second, third]


async def test_an_entry_is_removed_once():
    queue: Queue[str, int, int] = Queue(1)
    only = entry()
    queue.append(only)
    assert queue.remove(only)
    assert not queue.remove(only)
    assert len(queue) == 0


async def test_an_entry_answers_only_who_still_waits():
    left = entry()
    left.future.cancel()
    left.resolve(Answer(1, 0.0, 0.0))
    left.fail(ValueError("late"))
    assert left.future.cancelled()
