"""Work that is shared: nobody owns it, nobody harms another, and nothing goes on that nobody waits for."""

import asyncio
import gc
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from service.batching import Entry
from service.detector.flight import Flight, Flights
from service.errors import DeadlineExceeded, EngineFailed

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it was begun, and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.flights: list[Flight[str]] = []
        self.cancelled = 0
        self.done = asyncio.Event()

    async def __call__(self, flight: Flight[str]) -> str:
        self.flights.append(flight)
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return "landed"


def soon() -> float:
    return time.monotonic() + 10


async def board(sharing: Coroutine[Any, Any, tuple[str, bool]]) -> asyncio.Task[tuple[str, bool]]:
    """Somebody who waits, and has begun to."""
    task = asyncio.ensure_future(sharing)
    await asyncio.sleep(0)
    return task


async def test_identical_work_is_done_once():
    flights, work = Flights[str, str](), Work()
    waiting = [await board(flights.share("a", soon(), work)) for _ in range(3)]
    work.done.set()
    assert [await task for task in waiting] == [("landed", False), ("landed", True), ("landed", True)]
    assert len(work.flights) == 1


async def test_different_work_is_not_shared():
    flights, work = Flights[str, str](), Work()
    work.done.set()
    answers = await asyncio.gather(*(flights.share(key, soon(), work) for key in "abc"))
    assert [joined for _, joined in answers] == [False] * 3


async def test_what_has_landed_is_not_kept():
    flights, work = Flights[str, str](), Work()
    work.done.set()
    assert await flights.share("a", soon(), work) == ("landed", False)
    assert await flights.share("a", soon(), work) == ("landed", False)
    assert len(work.flights) == 2


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_one_who_leaves_harms_no_other(leaver: int):
    flights, work = Flights[str, str](), Work()
    waiting = [await board(flights.share("a", soon(), work)) for _ in range(3)]
    waiting[leaver].cancel()
    await asyncio.wait([waiting.pop(leaver)])
    work.done.set()
    assert [(await task)[0] for task in waiting] == ["landed"] * 2
    assert not work.cancelled


async def test_one_whose_time_is_up_harms_no_other():
    flights, work = Flights[str, str](), Work()
    patient = await board(flights.share("a", soon(), work))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flights.share("a", time.monotonic(), work), 0.01)
    work.done.set()
    assert await patient == ("landed", False)


async def test_more_patience_moves_the_deadline_back_and_less_does_not():
    flights, work = Flights[str, str](), Work()
    waiting = [await board(flights.share("a", deadline, work)) for deadline in (10.0, 30.0, 20.0)]
    (flight,) = work.flights
    assert flight.deadline == 30.0
    work.done.set()
    await asyncio.gather(*waiting)


async def test_the_deadline_of_what_is_queued_moves_with_the_flight():
    flight = Flight[str](10.0)
    flight.extend(20.0)
    entry = Entry("group", "payload", 0.0, 10.0, asyncio.get_running_loop().create_future())
    flight.carries(entry)
    assert entry.deadline == 20.0
    flight.extend(30.0)
    assert entry.deadline == 30.0


async def test_the_last_one_to_leave_ends_the_work():
    flights, work = Flights[str, str](), Work()
    waiting = [await board(flights.share("a", soon(), work)) for _ in range(2)]
    for task in waiting:
        assert not work.cancelled
        task.cancel()
        await asyncio.wait([task])
    await asyncio.sleep(0)
    assert work.cancelled == 1


async def test_nobody_joins_what_is_being_cancelled():
    flights, work, cleaned = Flights[str, str](), Work(), asyncio.Event()

    async def reluctant(flight: Flight[str]) -> str:
        try:
            return await work(flight)
        finally:
            await cleaned.wait()

    first = await board(flights.share("a", soon(), reluctant))
    first.cancel()
    await asyncio.wait([first])
    second = await board(flights.share("a", soon(), work))
    cleaned.set()
    work.done.set()
    assert await second == ("landed", False)
    # The end of the first flight took nothing of the second away.
    assert (len(work.flights), work.cancelled) == (2, 1)


async def test_an_error_reaches_all_and_the_next_tries_again():
    flights, work = Flights[str, str](), Work(EngineFailed("down"))
    waiting = [await board(flights.share("a", soon(), work)) for _ in range(3)]
    work.done.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["down"] * 3
    work.error = None
    assert await flights.share("a", soon(), work) == ("landed", False)


async def test_an_error_that_nobody_waits_for_is_silent(caplog: pytest.LogCaptureFixture):
    flights, work = Flights[str, str](), Work(EngineFailed("down"))
    for _ in range(2):
        last = await board(flights.share("a", soon(), work))
        work.done.set()
        # Leaves at the very moment at which the error comes.
        last.cancel()
        await asyncio.wait([last])
        await asyncio.sleep(0)
        del last
    gc.collect()
    assert caplog.records == []


async def test_who_joined_with_more_patience_than_the_work_had_left_gets_work_of_their_own():
    flights, work = Flights[str, str](), Work(DeadlineExceeded("given to the engine with less patience"))
    hasty = await board(flights.share("a", time.monotonic(), work))
    patient = [await board(flights.share("a", soon(), work)) for _ in range(2)]
    work.done.set()
    with pytest.raises(DeadlineExceeded):
        await hasty
    work.error = None
    assert sorted([await task for task in patient]) == [("landed", False), ("landed", True)]
    assert len(work.flights) == 2
