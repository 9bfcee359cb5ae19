"""Leases in files: RedisLease's promises, and the end of a holder that died."""

import asyncio
import fcntl
import multiprocessing
import os
from pathlib import Path

import pytest

from service.app import Service
from service.app.lease import FileLease
from service.metrics import SHARED

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease_file(folder: Path) -> Path:
    (file,) = folder.glob("lease-*")
    return file


async def test_of_many_one_holds(tmp_path: Path):
    leases = [FileLease(tmp_path) for _ in range(20)]
    assert sum(await asyncio.gather(*(lease.hold("model", 60) for lease in leases))) == 1


async def test_the_holder_renews_and_nobody_else_can(tmp_path: Path):
    clock = Clock()
    holder, other = (FileLease(tmp_path, clock=clock) for _ in range(2))
    assert await holder.hold("model", 10)
    assert not await other.hold("model", 60)
    clock.now += 9
    assert await holder.hold("model", 10)
    clock.now += 9
    assert not await other.hold("model", 60)


async def test_leases_of_different_names_are_apart(tmp_path: Path):
    assert await FileLease(tmp_path).hold("load 127.0.0.1:8001 vehicles/1", 60)
    assert await FileLease(tmp_path).hold("load 127.0.0.1:8001 vehicles/2", 60)


async def test_a_lease_that_has_ended_goes_to_the_next(tmp_path: Path):
    clock = Clock()
    holder, other = (FileLease(tmp_path, clock=clock) for _ in range(2))
    assert await holder.hold("model", 5)
    clock.now += 5
    assert await other.hold("model", 60)
    assert not await holder.hold("model", 60)


def hold_in_a_process(folder: Path, barrier: multiprocessing.Barrier, held: multiprocessing.SimpleQueue) -> None:
    lease = FileLease(folder)
    barrier.wait()
    held.put(asyncio.run(lease.hold("model", 3600)))
    barrier.wait()


async def test_of_many_processes_one_holds_and_its_lease_ends_with_it(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    barrier, held = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=hold_in_a_process, args=(tmp_path, barrier, held)) for _ in range(3)]
    for process in processes:
        process.start()
    assert sorted(await asyncio.to_thread(lambda: [held.get() for _ in processes])) == [False, False, True]
    for process in processes:
        process.join()
    assert await FileLease(tmp_path).hold("model", 60)


@pytest.mark.parametrize("text", [b"", b"12-ab", b"12-ab later", b"\xff"])
async def test_what_a_dead_holder_has_half_written_holds_nothing(tmp_path: Path, text: bytes):
    lease = FileLease(tmp_path)
    assert await lease.hold("model", 60)
    lease_file(tmp_path).write_bytes(text)
    assert await FileLease(tmp_path).hold("model", 60)
    assert not await lease.hold("model", 60)


async def test_a_file_that_cannot_be_had_is_no_lease_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    assert not await FileLease(tmp_path / "nowhere").hold("model", 60)
    lease = FileLease(tmp_path)
    assert await lease.hold("model", 60)
    with lease_file(tmp_path).open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert not await lease.hold("model", 60)
    assert caplog.text.count("no lease on model, its file cannot be had") == 2
    assert await lease.hold("model", 60)


async def test_workers_without_redis_have_their_leases_in_the_shared_folder(
    make_settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(SHARED, str(tmp_path))
    both = [Service(make_settings(engine="triton", workers=2)) for _ in range(2)]
    assert [await service._lease()("model", 60) for service in both] == [True, False]
    assert f"{os.getpid()}-" in lease_file(tmp_path).read_text()
    alone = [Service(make_settings()) for _ in range(2)]
    assert [await service._lease()("model", 60) for service in alone] == [True, True]
    for service in (*both, *alone):
        await service.aclose()
