"""NVIDIA's own load generator for Triton, fetched once: ``perf_analyzer`` from the last wheel that carries it.

It needs two libraries that the wheel of the server has (``make triton`` installs that); both lie in
``~/.cache/yolov7-service/bench/perf_analyzer`` afterwards. It keeps a fixed number of requests in flight, sends random
pixels, and neither decodes nor speaks HTTP: what it reaches is what Triton can give.
"""

import csv
import os
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from contenders import CACHE
from server import PYTHON, ROOT

_WHEEL = "tritonclient==2.51.0"
_LIBRARIES = {"libb64-*.so.0d": "libb64.so.0d", "libcudart-*.so.12*": "libcudart.so.12"}
# It measures in windows until three in a row agree; here any three do, so that each run takes the time it is given.
_WINDOWS = 3
_ANY = "999"


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """``url`` is where Triton speaks gRPC; ``shape_hw`` the input's; ``concurrency`` requests are in flight."""

    url: str
    model: str
    shape_hw: tuple[int, int]
    concurrency: int
    shared_memory: bool = False

    def per_second(self, seconds: float) -> float:
        """Inferences a second."""
        folder = fetch()
        height, width = self.shape_hw
        with tempfile.TemporaryDirectory() as scratch:
            table = Path(scratch) / "result.csv"
            command = [str(folder / "perf_analyzer"), "-m", self.model, "-u", self.url, "-i", "grpc", "-b", "1"]
            command += ["--concurrency-range", f"{self.concurrency}:{self.concurrency}"]
            command += ["--shape", f"images:{height},{width},3", "-f", str(table)]
            command += ["--measurement-interval", str(round(1000 * seconds / _WINDOWS))]
            command += ["--stability-percentage", _ANY, "--max-trials", str(_WINDOWS)]
            command += ["--shared-memory", "system"] if self.shared_memory else []
            environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if run.returncode or not table.exists():
                raise SystemExit(f"perf_analyzer failed:\n{run.stdout[-1500:]}{run.stderr[-1500:]}")
            with table.open(newline="") as file:
                return float(next(csv.DictReader(file))["Inferences/Second"])


def fetch() -> Path:
    """The folder with the program and its libraries, which is made unless it is there."""
    folder = CACHE / "perf_analyzer"
    program = folder / "perf_analyzer"
    if program.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for pattern, name in _LIBRARIES.items():
        found = sorted((ROOT / ".venv-triton").glob(f"lib/python*/site-packages/nvidia_pytriton.libs/{pattern}"))
        if not found:
            raise SystemExit(f"perf_analyzer needs {name}, which comes with the server: `make triton` first")
        shutil.copyfile(found[0], folder / name)
    print(f"fetching {_WHEEL} (once) ...")
    with tempfile.TemporaryDirectory() as scratch:
        pip = [str(PYTHON), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", scratch, _WHEEL], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("/data/bin/perf_analyzer"))
            staged = folder / ".perf_analyzer"
            staged.write_bytes(wheel.read(member))
    staged.chmod(0o755)
    staged.rename(program)
    return folder
