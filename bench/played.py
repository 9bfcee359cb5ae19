"""What became of the frames that feeder.py played: it is started here, the server watched meanwhile, and the rest read.

Frame ages are the service's own: from the receipt of a frame until its answer was ready, on its monotonic clock. What
the sender sees, from when a frame was due until its answer had arrived, is kept beside them, so that nothing hides in
the transport.
"""

import json
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from process import cpu_seconds, resident_bytes
from server import PYTHON, ROOT

_FEEDER = ROOT / "bench" / "feeder.py"
_SAMPLE_S = 10.0
# What a generator may be late by, of an interval between two frames, before it is not the load that was asked for.
_TOLERABLE = 0.25


@dataclass(frozen=True, slots=True)
class Played:
    """One camera's frames. `answers` has a column for each name, in seconds; `late` is how late each was sent."""

    sent: int
    skipped: int
    late: NDArray[np.float64]
    answers: dict[str, NDArray[np.float64]]
    dropped: Counter[str]
    errors: Counter[str]

    @classmethod
    def of(cls, stream: dict[str, Any]) -> "Played":
        """From what the feeder wrote."""
        answers = {name: np.array(values) for name, values in stream["answers"].items()}
        outcomes = Counter(stream["dropped"]), Counter(stream["errors"])
        return cls(stream["sent"], stream["skipped"], np.array(stream["late"]), answers, *outcomes)

    @property
    def answered(self) -> int:
        """Frames that were answered with detections."""
        return len(self.answers["at"])

    @property
    def lost(self) -> int:
        """Frames that were sent and of which nothing was heard: there should be none."""
        return self.sent - self.answered - self.dropped.total() - self.errors.total()

    def quantiles(self, column: str, *shares: float) -> list[float]:
        """Seconds below which each share of the answers stayed; NaN where there is none."""
        values = self.answers[column]
        return [float(value) for value in np.quantile(values, shares)] if len(values) else [float("nan")] * len(shares)


@dataclass(frozen=True, slots=True)
class Playing:
    """All cameras of one run. `memory` are samples of the server: seconds since the first, and resident bytes."""

    cameras: list[Played]
    fps: float
    seconds: float
    memory: list[tuple[float, int]]
    server_cores: float
    feeder_cores: float

    def median(self, *stages: str) -> float:
        """Median of the sum of stages over all answers, in seconds."""
        sums = [sum(camera.answers[stage] for stage in stages) for camera in self.cameras if camera.answered]
        return float(np.median(np.concatenate(sums))) if sums else float("nan")

    def schedule(self) -> str:
        """Whether the generator kept its own schedule, for people."""
        late = np.concatenate([camera.late for camera in self.cameras])
        p99, longest = (1e3 * float(value) for value in np.quantile(late, [0.99, 1.0]))
        skipped = sum(camera.skipped for camera in self.cameras)
        kept = skipped == 0 and p99 <= _TOLERABLE * 1e3 / self.fps
        word = "kept its schedule" if kept else "DID NOT KEEP ITS SCHEDULE: this is not the load that was asked for"
        figures = f"sent late p99 {p99:.1f} ms, at most {longest:.1f} ms, {skipped} frames skipped"
        cores = f"it used {self.feeder_cores:.2f} cores, the server {self.server_cores:.2f}"
        return f"the generator {word}: {figures}; {cores}"

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON; ages and delays in seconds."""
        return {
            "fps": self.fps,
            "seconds": self.seconds,
            "memory": self.memory,
            "server_cores": self.server_cores,
            "feeder_cores": self.feeder_cores,
            "schedule": self.schedule(),
            "cameras": [_summary(camera) for camera in self.cameras],
        }


def play(*, grpc_port: int, pid: int, flags: list[str], fps: float, seconds: float) -> Playing:
    """Run the feeder against the server of process `pid`, which is watched until the feeder has ended."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "cameras.json"
        command = [str(PYTHON), str(_FEEDER), "--port", str(grpc_port), "--fps", str(fps), "--seconds", str(seconds)]
        feeder = subprocess.Popen([*command, "--out", str(out), *flags], cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
        try:
            memory, cores = _watch(feeder, pid)
        finally:
            feeder.kill()
            feeder.wait()
        if feeder.returncode:
            raise SystemExit("the feeder failed")
        written = json.loads(out.read_text())
    cameras = [Played.of(stream) for stream in written["streams"]]
    return Playing(cameras, fps, seconds, memory, cores, written["cpu_seconds"] / seconds)


def _watch(feeder: "subprocess.Popen[bytes]", pid: int) -> tuple[list[tuple[float, int]], float]:
    """Samples of the memory, and the cores that were used on average."""
    started, cpu_before = time.perf_counter(), cpu_seconds(pid)
    memory: list[tuple[float, int]] = []
    while True:
        memory.append((time.perf_counter() - started, resident_bytes(pid)))
        try:
            feeder.wait(max(0.0, len(memory) * _SAMPLE_S - (time.perf_counter() - started)))
        except subprocess.TimeoutExpired:
            continue
        return memory, (cpu_seconds(pid) - cpu_before) / (time.perf_counter() - started)


def _summary(camera: Played) -> dict[str, Any]:
    columns = {name: camera.quantiles(name, 0.5, 0.95, 0.99) for name in camera.answers if name != "at"}
    counts = {"sent": camera.sent, "skipped": camera.skipped, "answered": camera.answered, "lost": camera.lost}
    return {**counts, "dropped": camera.dropped, "errors": camera.errors, "p50_p95_p99": columns}
