"""Everything that a gateway leans on is killed under load, and comes back; nobody is left without an answer."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


def run_for(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture
def triton(triton_repository: Callable[[], Path], triton_server: Start) -> Any:
    repository = triton_repository()
    for other in ("odd", "plain"):
        shutil.rmtree(repository / other)
    return triton_server(repository)


def triton_flags(triton: Any, **more: object) -> dict[str, object]:
    precision = {"triton_precision": "f32", "cache_memory_bytes": 0}
    return {"engine": "triton", "triton_urls": triton.url, "model_repository": triton.repository, **precision, **more}


def reloads(served: Any) -> int:
    return served.log.read_text().count("is back")


def await_reload(gateways: list[Any]) -> None:
    for _ in range(300):
        if sum(map(reloads, gateways)):
            return
        time.sleep(0.1)
    raise AssertionError("nobody reloaded the model")


def test_redis_is_killed_paused_and_comes_back(
    gateway: Start, redis_server: Start, blocks_repository: Path, png: bytes
):
    redis = redis_server()
    secrets = {"redis_url": redis.url, "cache_secret": "hush", "rate": "100000/second", "cache_memory_bytes": 0}
    served = gateway(model_repository=blocks_repository, precision="f32", **secrets)
    with served.load(png) as record:
        for change in (redis.kill, redis.start, redis.pause, redis.resume):
            run_for(0.7)
            change()
            assert served.ready()
        run_for(0.7)
    record.check(200)
    assert served.ready()


def test_tritonserver_is_killed_and_comes_back(gateway: Start, triton: Any, png: bytes):
    served = gateway(**triton_flags(triton))
    with served.load(png) as record:
        run_for(1.0)
        before = record.count(200)
        triton.kill()
        served.await_ready(False)
        run_for(0.5)
        triton.start()
        triton.wait_ready()
        served.await_ready()
        during = record.count(200)
        run_for(1.0)
    record.check(200, 503, 504)
    assert before > 0
    assert record.count(503) > 0
    assert record.count(200) > during


def test_a_stub_is_killed_and_the_gateway_that_holds_the_lease_reloads_it(
    gateway: Start, triton: Any, redis_server: Start, png: bytes
):
    shared = {"redis_url": redis_server().url, "cache_secret": "hush"}
    both = [gateway(**triton_flags(triton, **shared)) for _ in range(2)]
    with both[0].load(png, clients=2) as record, both[1].load(png, clients=2) as other:
        run_for(1.0)
        os.kill(triton.stubs()[0], signal.SIGKILL)
        await_reload(both)
        for served in both:
            served.await_ready()
        counts = record.count(200), other.count(200)
        run_for(1.0)
    for found, count in zip((record, other), counts, strict=True):
        found.check(200, 503, 504)
        assert found.count(200) > count
    assert sum(map(reloads, both)) == 1


def test_of_several_workers_without_redis_one_reloads_what_has_died(gateway: Start, triton: Any, png: bytes):
    served = gateway(**triton_flags(triton), workers=2)
    served.await_ready()
    with served.load(png) as record:
        run_for(1.0)
        os.kill(triton.stubs()[0], signal.SIGKILL)
        await_reload([served])
        served.await_ready()
        count = record.count(200)
        run_for(1.0)
    record.check(200, 503, 504)
    assert record.count(200) > count
    assert served.log.read_text().count("reloading model") == reloads(served) == 1


def test_a_tritonserver_that_hangs_costs_deadlines_and_no_more(gateway: Start, triton: Any, png: bytes):
    served = gateway(**triton_flags(triton))
    with served.load(png) as record:
        run_for(0.7)
        triton.send_signal(signal.SIGSTOP)
        served.await_ready(False)
        triton.send_signal(signal.SIGCONT)
        served.await_ready()
        count = record.count(200)
        run_for(0.7)
    record.check(200, 503, 504)
    assert record.count(200) > count


def test_sigterm_under_load_answers_all_that_was_taken_up(gateway: Start, triton: Any, png: bytes):
    served = gateway(**triton_flags(triton), workers=2)
    served.await_ready()
    statuses: list[list[int]] = [[] for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        posting = [threads.submit(served.post_until_shut, png, own) for own in statuses]
        while min(map(len, statuses)) < 5:
            run_for(0.01)
        served.process.send_signal(signal.SIGTERM)
        for client in posting:
            client.result(timeout=30)
    assert served.process.wait(30) == 0
    log = served.log.read_text()
    given = sorted(status for own in statuses for status in own)
    assert set(given) <= {200, 503}
    # What the workers say that they answered is what the clients got: nothing that was taken up was lost.
    assert sorted(int(status) for status in re.findall(r"POST /v1/detect (\d+) ", log)) == given
    assert log.count("closed") == 2
    assert "Traceback" not in log
