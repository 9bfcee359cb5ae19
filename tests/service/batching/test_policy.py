"""What to run next, with the clock moved by hand."""

import asyncio

import pytest

from service.batching.durations import STALE_S
from service.batching.policy import Adaptive, Ahead
from service.batching.queue import Entry, Queue

pytestmark = pytest.mark.anyio

E = Entry[str, str, str]


def queue_of(*entries: E) -> Queue[str, str, str]:
    queue: Queue[str, str, str] = Queue(100)
    for entry in entries:
        queue.append(entry)
    return queue


def policy(largest: int, *, most_running: int = 1) -> Adaptive[str, str, str]:
    return Adaptive(most_running=most_running, largest=lambda group: largest)


def entry(payload: str, *, group: str = "a", deadline: float = 10.0) -> E:
    return Entry(group, payload, 0.0, deadline, asyncio.get_running_loop().create_future())


async def test_an_empty_queue_gives_an_empty_batch():
    assert policy(4).decide(0.0, queue_of(), running={}).batch == ()


async def test_a_single_entry_does_not_wait_for_company():
    only = entry("x")
    assert policy(4).decide(0.0, queue_of(only), running={}).batch == (only,)


async def test_a_batch_holds_the_oldest_group_only_in_order():
    x, y, z = entry("x", group="b"), entry("y", group="a"), entry("z", group="b")
    assert policy(4).decide(0.0, queue_of(x, y, z), running={}).batch == (x, z)


async def test_a_batch_is_no_larger_than_allowed():
    entries = [entry(str(n)) for n in range(5)]
    assert policy(2).decide(0.0, queue_of(*entries), running={}).batch == tuple(entries[:2])


async def test_expired_and_cancelled_entries_are_skipped_and_named():
    late, gone, alive = entry("late", deadline=1.0), entry("gone"), entry("alive")
    gone.future.cancel()
    deciding = policy(4)
    assert deciding.decide(0.9, queue_of(late, gone, alive), running={}).expired == ()
    decision = deciding.decide(1.0, queue_of(late, gone, alive), running={})
    assert (decision.batch, decision.expired, decision.cancelled) == ((alive,), (late,), (gone,))


async def test_deciding_changes_nothing():
    queue = queue_of(entry("x", deadline=0.0), entry("y"))
    policy(4).decide(1.0, queue, running={})
    assert len(queue) == 2


def taught(
    per_batch: float, per_image: float, *, loads: tuple[int, ...] = (1,), most_running: int = 1
) -> Adaptive[str, str, str]:
    """A policy that has seen batches of 1 to 8, at each load, of an engine that shares nothing between them."""
    learnt = policy(8, most_running=most_running)
    for load in loads:
        for n in (1, 2, 4, 8) * 3:
            learnt.observe("a", n, load=load, seconds=per_batch + per_image * n, now=0.0)
    return learnt


async def test_an_engine_that_gains_from_large_batches_gets_them():
    entries = [entry(str(n)) for n in range(8)]
    assert len(taught(0.010, 0.001).decide(0.0, queue_of(*entries), running={}).batch) == 8


async def test_an_engine_that_gains_nothing_gets_single_images():
    entries = [entry(str(n)) for n in range(8)]
    assert len(taught(0.0, 0.010).decide(0.0, queue_of(*entries), running={}).batch) == 1


async def test_a_batch_stays_small_enough_for_the_deadlines_in_it():
    entries = [entry(str(n), deadline=0.015) for n in range(8)]
    assert len(taught(0.010, 0.001).decide(0.0, queue_of(*entries), running={}).batch) == 5


async def test_another_batch_starts_beside_others_only_if_that_helps():
    entries = [entry(str(n)) for n in range(8)]
    apart = taught(0.010, 0.0, loads=(1, 2), most_running=3)
    assert apart.decide(0.0, queue_of(*entries), running={"a": 1}).batch
    shared = taught(0.010, 0.0, most_running=3)
    for n in (1, 2, 4, 8):
        shared.observe("a", n, load=2, seconds=0.020, now=0.0)
    assert not shared.decide(0.0, queue_of(*entries), running={"a": 1}).batch
    # What was learnt long ago is tried again, once what it is compared with is known anew.
    assert not shared.decide(11.0, queue_of(entry("x", deadline=20.0)), running={"a": 1}).batch
    shared.observe("a", 1, load=1, seconds=0.010, now=11.0)
    assert shared.decide(11.0, queue_of(entry("x", deadline=20.0)), running={"a": 1}).batch


async def test_what_would_come_too_late_gives_way_to_what_would_not():
    late, fine = entry("late", deadline=0.005), entry("fine", deadline=1.0)
    decision = taught(0.010, 0.001).decide(0.0, queue_of(late, fine), running={})
    assert (decision.batch, decision.expired) == ((fine,), (late,))


async def test_if_all_would_come_too_late_the_engine_works_all_the_same():
    late = entry("late", deadline=0.005)
    assert taught(0.010, 0.001).decide(0.0, queue_of(late), running={}).batch == (late,)


async def test_the_time_to_an_answer_grows_with_what_is_ahead():
    learnt = taught(0.0, 0.010)
    waits = [
        learnt.answer_s(queue_of(*(entry(str(n)) for n in range(ahead))), running=1, ahead=Ahead())
        for ahead in (0, 1, 5)
    ]
    assert waits[0] < waits[1] < waits[2]
    assert 0.05 < waits[2] < 0.2
    assert learnt.answer_s(queue_of(), running=0) == 0.0
    assert learnt.answer_s(queue_of(), running=1, ahead=Ahead(5)) == pytest.approx(waits[2])


async def test_slow_preparation_counts_where_it_sets_the_pace():
    learnt = taught(0.0, 0.010)
    fast, slow = (learnt.answer_s(queue_of(), running=0, ahead=Ahead(10, seconds)) for seconds in (0.001, 0.5))
    assert fast < 1.0 < 5.0 < slow


async def test_a_large_batch_is_waited_for_as_a_whole():
    learnt = taught(0.0, 0.010, loads=(4,))
    assert learnt.answer_s(queue_of(), running=4) > 0.05


async def test_what_is_unknown_is_tried_one_step_at_a_time():
    learnt = taught(0.010, 0.0, loads=(1,), most_running=4)
    entries = [entry(str(n)) for n in range(8)]
    assert learnt.decide(0.0, queue_of(*entries), running={"a": 1}).batch
    assert not learnt.decide(0.0, queue_of(*entries), running={"a": 2}).batch


async def test_an_unknown_load_is_guessed_for_the_deadlines_sake():
    entries = [entry(str(n), deadline=0.015) for n in range(8)]
    assert len(taught(0.010, 0.001, most_running=2).decide(0.0, queue_of(*entries), running={"a": 1}).batch) == 1


async def test_a_group_that_is_held_back_holds_no_other_back():
    learnt = taught(0.010, 0.0, loads=(1,), most_running=4)
    hung, other = entry("hung"), entry("other", group="b")
    assert learnt.decide(0.0, queue_of(hung, other), running={"a": 2}).batch == (other,)


def observed(*seconds_by_load: float) -> Adaptive[str, str, str]:
    """Four batches may run, and single images took so long at loads of 1, 2, …, observed at time 0."""
    seen = policy(8, most_running=4)
    for load, seconds in enumerate(seconds_by_load, 1):
        seen.observe("a", 1, load=load, seconds=seconds, now=0.0)
    return seen


@pytest.mark.parametrize(
    ("seconds_by_load", "room"),
    [((), 1), ((0.1,), 2), ((0.1, 0.12), 3), ((0.1, 0.2), 1), ((0.1, 0.1, 0.15), 2), ((0.1, 0.1, 0.1, 0.1), 3)],
)
def test_there_is_room_as_long_as_one_more_is_worked_on_beside_the_others(
    seconds_by_load: tuple[float, ...], room: int
):
    seen = observed(*seconds_by_load)
    assert next(running for running in range(5) if not seen.has_room(1.0, running=running)) == room


def test_that_there_was_no_room_is_not_believed_for_ever():
    seen = observed(0.1, 0.2)
    assert not seen.has_room(STALE_S, running=1)
    assert seen.has_room(STALE_S + 0.1, running=1)
