"""Several processes behind one socket, for real: replaced when they die, ended together, counted as one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from service.app.shared_folder import shared_folder, use
from service.app.workers import FIRST_RESTART_S, LAST_RESTART_S, next_pause
from service.metrics import SHARED

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
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    # Who has lost its parent is somebody else's to bury.
    return state == "Z"


def until_gone(pids: Iterable[int]) -> None:
    for _ in range(2000):
        if all(map(is_gone, pids)):
            return
        time.sleep(0.01)
    raise AssertionError("a worker lives on")


def run_to_its_end(*settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *settings],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


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
    assert crew.process.wait(60) == 0
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


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all(muster: Muster, sig: signal.Signals):
    crew = muster(workers=3)
    pids = until_all_answer(crew, 3)
    crew.process.send_signal(sig)
    assert crew.process.wait(60) == 0
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
    assert crew.process.wait(60) == 0
    assert len(re.findall(r"told \d+", crew.log.read_text())) == 4


def test_ctrl_c_in_a_terminal_is_one_signal_to_each(muster: Muster):
    crew = muster(default_model="patient")
    pids = until_all_answer(crew)
    os.killpg(crew.process.pid, signal.SIGINT)
    for pid in pids:
        crew.await_log(f"told {pid}")
    assert until_all_answer(crew) == pids
    os.killpg(crew.process.pid, signal.SIGINT)
    assert crew.process.wait(60) == 0
    assert len(re.findall(r"told \d+", crew.log.read_text())) == 4


def test_a_signal_while_workers_are_being_started_ends_them_too(muster: Muster):
    crew = muster(workers=4)
    crew.process.send_signal(signal.SIGTERM)
    # Less than what a worker is given that was told nothing.
    assert crew.process.wait(60) == 0
    assert "is killed" not in crew.log.read_text()
    with pytest.raises(ConnectionRefusedError):
        crew.open()


@pytest.mark.parametrize("behaviour", ["", "patient"])
def test_workers_do_not_outlive_a_parent_that_is_killed(muster: Muster, behaviour: str):
    crew = muster(default_model=behaviour or "quick")
    pids = until_all_answer(crew)
    crew.process.kill()
    crew.process.wait()
    for pid in pids:
        crew.await_log(f"told {pid}")
    if behaviour == "patient":
        # They drain as if their parent had told them, and a second signal still ends them.
        assert until_all_answer(crew) == pids
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
    until_gone(pids)
    socket.create_server(("127.0.0.1", crew.port)).close()


def test_a_parent_under_nohup_is_not_hung_up(launch: Callable[..., Crew]):
    crew = launch(["nohup", sys.executable, SCRIPT])
    pids = until_all_answer(crew)
    crew.process.send_signal(signal.SIGHUP)
    assert until_all_answer(crew) == pids


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        ("unable", "cannot start: no model at all", "a worker cannot start, its line above says why"),
        ("broken", "RuntimeError: a bug", "a worker ended with 1 before it had served"),
        ("killed", "", "a worker ended with -9 before it had served"),
    ],
)
def test_workers_that_end_before_they_serve_end_it_all(behaviour: str, status: str, reason: str):
    ended = run_to_its_end(f"default_model={behaviour}")
    assert ended.returncode == 1
    assert status in ended.stderr
    assert ended.stderr.splitlines()[-1] == f"yolov7-service: {reason}"
    assert ("Traceback" in ended.stderr) == (behaviour == "broken")
    assert "another one is started" not in ended.stderr


@pytest.mark.parametrize(
    ("library", "settings", "line"),
    [
        (
            "tritonclient",
            {"engine": "triton"},
            "engine triton needs tritonclient: pip install 'yolov7-service[triton]'",
        ),
        ("tritonclient", {"engine": "triton", "workers": 2}, "a worker cannot start, its line above says why"),
        ("openvino", {}, "engine embedded needs openvino: pip install 'yolov7-service[service]'"),
    ],
)
def test_an_engine_without_its_library_says_what_to_install(
    command: Callable[..., list[str]], tmp_path: Path, library: str, settings: dict[str, Any], line: str
):
    missing = f"raise ModuleNotFoundError(\"No module named '{library}'\", name='{library}')"
    (tmp_path / f"{library}.py").write_text(missing)
    ended = subprocess.run(
        command(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"yolov7-service: {line}"
    assert f"engine {settings.get('engine', 'embedded')} needs {library}: pip install" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "another one is started" not in ended.stderr


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run_to_its_end(f"port={port}")
    assert ended.returncode == 1
    assert re.fullmatch(f"yolov7-service: cannot listen on 127.0.0.1 port {port}: .*in use.*\n", ended.stderr)


def test_pauses_between_restarts_double_up_to_a_bound_and_a_long_life_resets_them():
    pauses = [FIRST_RESTART_S]
    for _ in range(6):
        pauses.append(next_pause(pauses[-1], 0.1))
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert next_pause(30.0, LAST_RESTART_S) == FIRST_RESTART_S


def test_folders_that_killed_parents_left_go_with_the_next_start(tmp_path: Path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, living, other = (
        tmp_path / f"yolov7-metrics-{name}" for name in (f"{ended.pid}-a", f"{os.getpid()}-a", "old")
    )
    draining = tmp_path / f"yolov7-metrics-{ended.pid}-b"
    for folder in (left, living, other, draining):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    use(draining)
    assert run_to_its_end("default_model=unable", TMPDIR=str(tmp_path)).returncode == 1
    assert sorted(tmp_path.iterdir()) == sorted([living, other, draining])


def test_a_folder_named_by_our_own_number_is_our_predecessors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(SHARED, "")
    left = tmp_path / f"yolov7-metrics-{os.getpid()}-a"
    left.mkdir()
    with shared_folder() as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())
