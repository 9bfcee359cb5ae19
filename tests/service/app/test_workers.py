"""Several processes behind one socket, for real: replaced when they die, ended together, counted as one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = str(Path(__file__).with_name("bare_workers.py"))

Crew = Any
Muster = Callable[..., Crew]


@pytest.fixture(scope="module")
def muster(launch: Callable[..., Crew]) -> Muster:
    """Starts a parent and its workers: (settings)."""
    return lambda **settings: launch([sys.executable, SCRIPT, *(f"{name}={value}" for name, value in settings.items())])


def who(crew: Crew) -> dict[str, Any]:
    return json.loads(crew.request("GET", "/")[1])


def until_all_answer(crew: Crew, count: int = 2, *, without: frozenset[int] = frozenset()) -> set[int]:
    """The process ids of so many workers, once each of them has answered."""
    pids: set[int] = set()
    for _ in range(2000):
        pids |= {who(crew)["pid"]} - without
        if len(pids) == count:
            return pids
        time.sleep(0.005)
    raise AssertionError(f"only {pids} answer")


def requests_counted(crew: Crew) -> float:
    text = crew.request("GET", "/metrics")[1].decode()
    found = re.search(r'^yolov7_requests_total\{code="200",route="/",transport="http"\} (.+)$', text, re.MULTILINE)
    assert found, text
    return float(found[1])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_workers_share_a_socket_and_add_their_numbers_up(muster: Muster):
    crew = muster()
    until_all_answer(crew)
    before = requests_counted(crew)
    for _ in range(20):
        who(crew)
    # Its own request included.
    assert requests_counted(crew) == before + 21
    gauge = r"^yolov7_requests_in_flight 2\.0$"
    assert re.search(gauge, crew.request("GET", "/metrics")[1].decode(), re.MULTILINE)


def test_the_folder_of_numbers_is_known_to_all_and_goes_in_the_end(muster: Muster):
    crew = muster()
    until_all_answer(crew)
    (folder,) = {who(crew)["folder"] for _ in range(20)}
    assert Path(folder).is_dir()
    crew.process.send_signal(signal.SIGTERM)
    assert crew.process.wait(20) == 0
    assert not Path(folder).exists()


def test_a_worker_that_was_killed_is_replaced_and_its_counts_stay(muster: Muster):
    crew = muster()
    pids = until_all_answer(crew)
    counted = requests_counted(crew)
    victim = min(pids)
    os.kill(victim, signal.SIGKILL)
    crew.await_log("ended with -9; another one is started")
    assert victim not in until_all_answer(crew, without=frozenset({victim}))
    assert requests_counted(crew) > counted
    assert "yolov7_requests_in_flight 2.0" in crew.request("GET", "/metrics")[1].decode()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(muster: Muster, sig: signal.Signals):
    crew = muster(workers=3)
    pids = until_all_answer(crew, 3)
    crew.process.send_signal(sig)
    assert crew.process.wait(20) == 0
    assert all(map(is_gone, pids))
    with pytest.raises(ConnectionRefusedError):
        crew.open()
    assert sorted(re.findall(r"told (\d+)", crew.log.read_text())) == sorted(map(str, pids))


def test_a_second_signal_is_handed_on_too(muster: Muster):
    crew = muster(default_model="patient")
    pids = until_all_answer(crew)
    crew.process.send_signal(signal.SIGTERM)
    for pid in pids:
        crew.await_log(f"told {pid}")
    assert until_all_answer(crew) == pids
    crew.process.send_signal(signal.SIGTERM)
    assert crew.process.wait(20) == 0
    assert len(re.findall(r"told \d+", crew.log.read_text())) == 4


def test_ctrl_c_in_a_terminal_is_one_signal_to_each(muster: Muster):
    crew = muster(default_model="patient")
    pids = until_all_answer(crew)
    os.killpg(crew.process.pid, signal.SIGINT)
    for pid in pids:
        crew.await_log(f"told {pid}")
    assert until_all_answer(crew) == pids
    os.killpg(crew.process.pid, signal.SIGINT)
    assert crew.process.wait(20) == 0
    assert len(re.findall(r"told \d+", crew.log.read_text())) == 4


def test_a_signal_while_workers_are_being_started_ends_them_too(muster: Muster):
    crew = muster(workers=4)
    crew.process.send_signal(signal.SIGTERM)
    # Less than what a worker is given that was told nothing.
    assert crew.process.wait(20) == 0
    assert "is killed" not in crew.log.read_text()
    with pytest.raises(ConnectionRefusedError):
        crew.open()


def test_workers_that_cannot_start_end_it_all(muster: Muster):
    ended = subprocess.run(
        [sys.executable, SCRIPT, "default_model=unable"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "cannot start: no model at all" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "yolov7-service: a worker cannot start, its line above says why"
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, SCRIPT, f"port={port}"], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert re.fullmatch(f"yolov7-service: cannot listen on 127.0.0.1 port {port}: .*in use.*\n", ended.stderr)
