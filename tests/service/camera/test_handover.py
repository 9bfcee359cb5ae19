import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.camera.events import Dropped
from service.camera.handover import ROOM, Handover
from service.camera.pending import Pending
from service.camera.shot import FilePicture, Shot

pytestmark = pytest.mark.anyio


def shot(number: int, size: int = 10) -> Shot:
    return Shot(number, str(number), float(number), None, 0.0, None, FilePicture(bytes(size)))


async def test_where_the_newest_is_wanted_nobody_waits_and_what_was_replaced_is_told():
    handover = Handover(newest=True)
    for number in range(5):
        assert handover.put(shot(number))
    assert (await handover.take()).sequence == 4
    assert handover.replaced() == Dropped("unsent", 0, 3, 4)
    assert handover.replaced() is None


async def test_where_every_frame_counts_the_reader_waits_for_room(until: Callable[..., Any]):
    handover = Handover(newest=False)
    put: list[int] = []

    def read() -> None:
        for number in range(ROOM + 2):
            assert handover.put(shot(number))
            put.append(number)
        handover.finish()

    reader = threading.Thread(target=read)
    reader.start()
    await until(lambda: len(put) == ROOM)
    taken = []
    while (got := await handover.take()) is not None:
        taken.append(got.sequence)
    reader.join()
    assert taken == list(range(ROOM + 2))


async def test_a_frame_wakes_who_waits_for_it():
    handover = Handover(newest=True)
    taking = asyncio.create_task(handover.take())
    await asyncio.sleep(0)
    await asyncio.to_thread(handover.put, shot(7))
    assert (await taking).sequence == 7


async def test_what_was_read_is_taken_before_the_error_is_raised():
    handover = Handover(newest=False)
    handover.put(shot(0))
    handover.finish(OSError("unplugged"))
    assert not handover.exhausted
    assert (await handover.take()).sequence == 0
    assert handover.exhausted
    with pytest.raises(OSError, match="unplugged"):
        await handover.take()


async def test_a_reader_that_waits_ends_with_the_run():
    handover = Handover(newest=False)
    for number in range(ROOM):
        handover.put(shot(number))
    waiting = asyncio.create_task(asyncio.to_thread(handover.put, shot(ROOM)))
    handover.finish()
    assert await waiting is False


def test_pictures_that_wait_are_bounded_in_bytes_and_the_oldest_is_let_go():
    pending = Pending(most_bytes=25)
    for number in range(4):
        pending.add(shot(number))
    assert [waiting.picture is not None for waiting in pending.shots()] == [False, False, True, True]
    assert pending.let_go == 2
    pending.drop(1, 2)
    assert pending.take(3) is not None
    assert pending.take(3) is None
    assert [waiting.sequence for waiting in pending.shots()] == [0]


def test_where_all_are_to_be_sent_again_none_is_let_go():
    pending = Pending(most_bytes=None)
    for number in range(4):
        pending.add(shot(number, 10**6))
        pending.add(shot(number, 10**6), (2.0, 2.0))
    assert all(waiting.picture is not None for waiting in pending.shots())
    assert pending.take(2).scale_xy == (2.0, 2.0)


def test_a_picture_that_alone_is_too_large_is_kept():
    pending = Pending(most_bytes=5)
    pending.add(shot(0))
    assert pending.shots()[0].picture is not None
