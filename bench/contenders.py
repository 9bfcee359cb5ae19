"""Who is measured: ours, LitServe and a plain FastAPI handler, each with the arrangements of it that were tried.

The others run in an environment of their own (``bench/rivals/requirements.txt``), which is made on the first use in
``~/.cache/yolov7-service/bench/rivals``.
"""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from connection import request_bytes
from load import HOST
from server import PORT, PYTHON, ROOT, Command

CACHE = Path("~/.cache/yolov7-service/bench").expanduser()
BENCH = ROOT / "bench"

# One process per core is LitServe's advice for CPUs; one process with threads is what saves it the GIL-free copies.
LITSERVE_OPENVINO = {
    "2 workers": "--workers 2",
    "2 workers, fast queue": "--workers 2 --fast-queue",
    "2 workers, fast queue, 2 API servers": "--workers 2 --fast-queue --api-servers 2",
    "3 workers, fast queue": "--workers 3 --fast-queue",
    "1 async worker, 2 streams, fast queue": "--workers 1 --concurrent --streams 2 --threads 2 --fast-queue",
    "1 worker, batches of 4, fast queue": (
        "--workers 1 --max-batch-size 4 --batch-timeout-ms 5 --threads 2 --fast-queue"
    ),
}
LITSERVE_SLEEPING = {
    "2 workers": "--workers 2",
    "2 workers, fast queue": "--workers 2 --fast-queue",
    "2 workers, fast queue, 2 API servers": "--workers 2 --fast-queue --api-servers 2",
    "3 workers, fast queue": "--workers 3 --fast-queue",
    "4 workers, fast queue": "--workers 4 --fast-queue",
    "1 async worker, fast queue": "--workers 1 --concurrent --fast-queue",
    "2 async workers, fast queue": "--workers 2 --concurrent --fast-queue",
    "2 workers, batches of 16, fast queue": "--workers 2 --max-batch-size 16 --batch-timeout-ms 2 --fast-queue",
}
FASTAPI = {
    "Starlette's pool": "",
    "2 threads": "--threads 2",
    "Starlette's pool, locked": "--locked",
    "2 threads, locked": "--locked --threads 2",
}
# Unless a flag that comes after says which; so several may run side by side.
_ANY_GRPC_PORT = ("--grpc-port", "0")


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and the path that takes photos."""

    name: str
    command: Command
    path: str

    def requests(self, jpegs: Iterable[bytes], headers: dict[str, str] | None = None) -> list[bytes]:
        """One request for each photo."""
        return [request_bytes(jpeg, host=HOST, path=self.path, headers=headers) for jpeg in jpegs]


def ours(name: str, *flags: str, query: str = "") -> Contender:
    """``yolov7-service serve`` with flags on top of host, port and a quiet log."""
    arguments = (str(PYTHON), "-m", "service", "serve", "--host", HOST, "--port", PORT, "--log-level", "warning")
    return Contender(name, Command((*arguments, *_ANY_GRPC_PORT, *flags), "/readyz"), f"/v1/detect{query}")


def ours_sleeping(name: str, *flags: str) -> Contender:
    """Ours with the engine of ``bench/sleeping.py``."""
    arguments = (str(PYTHON), str(BENCH / "sleeping.py"), "--port", PORT)
    environment = {"PYTHONPATH": f"{ROOT}:{BENCH}"}
    return Contender(name, Command((*arguments, *_ANY_GRPC_PORT, *flags), "/readyz", environment), "/v1/detect")


def litserve(arrangements: dict[str, str], *flags: str) -> list[Contender]:
    """LitServe in each of the arrangements."""
    return [
        _rival(f"LitServe, {name}", "litserve_app.py", *flags, *text.split()) for name, text in arrangements.items()
    ]


def fastapi(*flags: str) -> list[Contender]:
    """The plain handler in each of its arrangements."""
    return [_rival(f"FastAPI, {name}", "fastapi_app.py", *flags, *text.split()) for name, text in FASTAPI.items()]


def _rival(name: str, script: str, *flags: str) -> Contender:
    arguments = (str(_rivals_python()), str(BENCH / "rivals" / script), "--port", PORT, *flags)
    return Contender(name, Command(arguments, "/health", {"PYTHONPATH": f"{ROOT}:{BENCH}"}), "/predict")


def _rivals_python() -> Path:
    return make_environment(
        CACHE / "rivals", ["-r", str(BENCH / "rivals" / "requirements.txt"), "-c", str(ROOT / "constraints.txt")]
    )


def make_environment(folder: Path, packages: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with the packages, which is made unless it is there."""
    python, done = folder / "bin" / "python", folder / ".done"
    if not done.exists():
        print(f"making {folder} (once) ...")
        subprocess.run([PYTHON, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        done.touch()
    return python
