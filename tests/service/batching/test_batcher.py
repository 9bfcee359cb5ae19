"""The batcher with a clock moved by hand and an engine that is let go by hand."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from service.batching import Adaptive, Batcher
from service.batching.policy import Decision
from service.batching.queue import Answer, Queue
from service.errors import DeadlineExceeded, Draining, EngineDown, EngineFailed, Overloaded
from service.metrics import Metrics

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class GatedEngine:
    """Doubles numbers, batch by batch, each when `gate` is opened. The payload 13 fails its batch."""

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)
        self.batches: list[tuple[str, list[int]]] = []
        self.deadlines: list[float] = []

    async def infer(self, group: str, payloads: Sequence[int], *, deadline: float) -> list[int]:
        self.batches.append((group, list(payloads)))
        self.deadlines.append(deadline)
        await self.gate.acquire()
        if 13 in payloads:
            raise EngineFailed("unlucky")
        return [2 * payload for payload in payloads]

    def open(self, batches: int = 100) -> None:
        for _ in range(batches):
            self.gate.release()


class Bench:
    def __init__(
        self, *, waiting: int = 8, running: int = 1, largest: int = 4, engine: GatedEngine | None = None
    ) -> None:
        self.clock = Clock()
        self.engine = engine or GatedEngine()
        self.metrics = Metrics(CollectorRegistry())
        self.batcher: Batcher[str, int, int] = Batcher(
            self.engine.infer,
            Adaptive(most_running=running, largest=lambda group: largest),
            capacity=waiting,
            metrics=self.metrics,
            clock=self.clock,
        )

    def submit(self, payload: int, *, group: str = "g", within: float = 50.0) -> asyncio.Task[Answer[int]]:
        deadline = self.clock.now + within
        return asyncio.create_task(self.batcher.submit(payload, group=group, deadline=deadline))

    def counted(self, name: str, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"yolov7_{name}_total", {"reason": reason})


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_idle_engine_starts_at_once_and_later_entries_are_batched():
    bench = Bench()
    tasks = [bench.submit(n) for n in (1, 2, 3)]
    await settle()
    assert bench.engine.batches == [("g", [1])]
    bench.engine.open()
    assert [(await task).result for task in tasks] == [2, 4, 6]
    assert bench.engine.batches == [("g", [1]), ("g", [2, 3])]


async def test_groups_are_never_mixed():
    bench = Bench()
    tasks = [bench.submit(n, group=group) for n, group in ((1, "a"), (2, "b"), (3, "a"), (4, "b"))]
    bench.engine.open()
    assert [(await task).result for task in tasks] == [2, 4, 6, 8]
    assert bench.engine.batches == [("a", [1]), ("b", [2, 4]), ("a", [3])]


async def test_several_batches_run_at_once():
    bench = Bench(running=2, largest=1)
    first = bench.submit(0)
    bench.engine.open(1)
    await first
    tasks = [bench.submit(n) for n in (1, 2, 3)]
    await settle()
    assert bench.engine.batches[1:] == [("g", [1]), ("g", [2])]
    bench.engine.open()
    await asyncio.gather(*tasks)
    assert len(bench.engine.batches) == 4


async def test_times_are_told_apart():
    bench = Bench(largest=1)
    first, second = bench.submit(1), bench.submit(2)
    await settle()
    bench.clock.now += 3
    bench.engine.open(1)
    await first
    await settle()
    bench.clock.now += 4
    bench.engine.open(1)
    assert await second == Answer(4, queued_s=3.0, inferred_s=4.0)


async def test_a_full_queue_refuses_at_once():
    bench = Bench(waiting=2)
    tasks = [bench.submit(n) for n in (1, 2, 3)]
    await settle()
    with pytest.raises(Overloaded):
        await bench.submit(4)
    assert bench.counted("rejected", "queue") == 1
    bench.engine.open()
    await asyncio.gather(*tasks)


async def test_an_entry_that_expires_in_the_queue_never_runs():
    bench = Bench()
    running, late = bench.submit(1), bench.submit(2, within=5.0)
    await settle()
    bench.clock.now += 5.0
    bench.engine.open()
    with pytest.raises(DeadlineExceeded, match="in the queue"):
        await late
    await running
    assert bench.engine.batches == [("g", [1])]
    assert bench.counted("dropped", "expired") == 1


async def test_the_deadline_holds_while_the_engine_hangs():
    bench = Bench()
    in_engine, in_queue = bench.submit(1, within=0.01), bench.submit(2, within=0.01)
    for task in (in_engine, in_queue):
        with pytest.raises(DeadlineExceeded):
            await task
    assert bench.counted("dropped", "expired") == 1


async def test_who_leaves_frees_the_place_and_harms_no_one():
    bench = Bench(waiting=2)
    running, leaving, staying = bench.submit(1), bench.submit(2), bench.submit(3)
    await settle()
    leaving.cancel()
    await settle()
    late_comer = bench.submit(4)
    bench.engine.open()
    assert [(await task).result for task in (running, staying, late_comer)] == [2, 6, 8]
    assert bench.engine.batches == [("g", [1]), ("g", [3, 4])]
    assert bench.counted("dropped", "cancelled") == 1


@pytest.mark.parametrize("steps", range(8))
async def test_who_leaves_at_any_moment_harms_no_one(steps: int):
    bench = Bench(largest=1)
    running, leaving, staying = bench.submit(1), bench.submit(2), bench.submit(3)
    await settle()
    bench.engine.open()
    for _ in range(steps):
        await asyncio.sleep(0)
    leaving.cancel()
    assert [(await task).result for task in (running, staying)] == [2, 6]
    assert bench.counted("dropped", "cancelled") in ({None, 1.0} if leaving.cancelled() else {None})


async def test_who_leaves_a_running_batch_harms_no_one():
    bench = Bench()
    first = bench.submit(1)
    await settle()
    leaving, staying = bench.submit(2), bench.submit(3)
    bench.engine.open(1)
    await first
    await settle()
    leaving.cancel()
    bench.engine.open()
    assert (await staying).result == 6


async def test_a_failing_batch_fails_only_its_own():
    bench = Bench(largest=1)
    good, bad, after = bench.submit(1), bench.submit(13), bench.submit(2)
    bench.engine.open()
    with pytest.raises(EngineFailed, match="unlucky"):
        await bad
    assert [(await task).result for task in (good, after)] == [2, 4]
    assert bench.batcher.healthy


async def test_closing_refuses_the_new_and_finishes_the_old():
    bench = Bench(largest=1)
    tasks = [bench.submit(n) for n in (1, 2)]
    await settle()
    closing = asyncio.create_task(bench.batcher.aclose())
    await settle()
    with pytest.raises(Draining):
        await bench.submit(3)
    assert not closing.done()
    bench.engine.open()
    await closing
    assert [task.result().result for task in tasks] == [2, 4]


class BrokenPolicy(Adaptive[str, int, int]):
    """Fails as a bug would, when it meets the payload 99."""

    def decide(self, now: float, queue: Queue[str, int, int], *, running: Mapping[str, int]) -> Decision[str, int, int]:
        assert all(entry.payload != 99 for entry in queue)
        return super().decide(now, queue, running=running)


async def test_a_bug_in_the_policy_fails_its_waiters_and_shows():
    bench = Bench()
    policy = BrokenPolicy(most_running=2, largest=lambda group: 1)
    bench.batcher = Batcher(bench.engine.infer, policy, capacity=8, metrics=bench.metrics, clock=bench.clock)
    running = bench.submit(1)
    await settle()
    with pytest.raises(EngineFailed):
        await bench.submit(99)
    assert not bench.batcher.healthy
    bench.engine.open()
    assert (await running).result == 2
    with pytest.raises(EngineFailed):
        await bench.submit(3)


async def test_a_poisoned_image_fails_alone():
    bench = Bench()
    running = bench.submit(1)
    await settle()
    tasks = [bench.submit(n) for n in (2, 13, 3)]
    bench.engine.open()
    await running
    with pytest.raises(EngineFailed, match="unlucky"):
        await tasks[1]
    assert [(await tasks[n]).result for n in (0, 2)] == [4, 6]
    assert [batch for _, batch in bench.engine.batches] == [[1], [2, 13, 3], [2], [13], [3]]


class DownEngine(GatedEngine):
    async def infer(self, group: str, payloads: Sequence[int], *, deadline: float) -> list[int]:
        self.batches.append((group, list(payloads)))
        await self.gate.acquire()
        raise EngineDown("nobody there")


async def test_a_batch_that_met_no_engine_is_not_tried_one_by_one():
    bench = Bench(engine=DownEngine())
    tasks = [bench.submit(n) for n in (1, 2, 3)]
    bench.engine.open()
    for task in tasks:
        with pytest.raises(EngineDown):
            await task
    assert [batch for _, batch in bench.engine.batches] == [[1], [2, 3]]


async def test_the_engine_is_told_the_latest_deadline_of_a_batch():
    bench = Bench()
    running, soon, late = bench.submit(1), bench.submit(2, within=5.0), bench.submit(3, within=9.0)
    await settle()
    bench.engine.open()
    await asyncio.gather(running, soon, late)
    assert bench.engine.deadlines == [150.0, 109.0]


async def test_what_cannot_be_answered_in_time_is_refused_with_the_time_it_would_take():
    bench = Bench(largest=1)
    first = bench.submit(1)
    await settle()
    bench.clock.now += 4.0
    bench.engine.open(1)
    await first
    second = bench.submit(2)
    await settle()
    with pytest.raises(Overloaded, match="longer than the deadline") as refusal:
        await bench.submit(3, within=2.0)
    assert refusal.value.retry_after_s >= 4
    assert bench.counted("rejected", "deadline") == 1
    bench.engine.open()
    await second


async def test_an_idle_engine_refuses_nothing_whatever_it_has_learnt():
    bench = Bench(largest=1)
    first = bench.submit(1)
    await settle()
    bench.clock.now += 4.0
    bench.engine.open()
    await first
    assert (await bench.submit(2, within=2.0)).result == 4


async def test_a_deadline_that_moves_back_keeps_its_entry_alive():
    bench = Bench(largest=1)
    running = bench.submit(1)
    await settle()
    entry = bench.batcher.enqueue(2, group="g", deadline=bench.clock.now + 5.0)
    waiting = asyncio.create_task(bench.batcher.wait(entry))
    entry.deadline += 10.0
    bench.clock.now += 6.0
    bench.engine.open()
    await running
    assert (await waiting).result == 4
