"""The gateway as a process with what its pod gives it; its keys change as the kubelet changes a mounted Secret."""

import io
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.access import new_key

ROOT = Path(__file__).resolve().parents[3]


class MountedSecret:
    """A folder as the kubelet lays one out: each file a link into ..data, itself a link that is turned at once."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder
        self.turns = 0
        folder.mkdir()
        self.turn(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def turn(self, files: dict[str, str]) -> None:
        self.turns += 1
        version = self.folder / f"..{self.turns}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").replace(self.folder / "..data")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def status(url: str, **request: Any) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def comes_to(expected: int, ask: Callable[[], int]) -> bool:
    """Whether that is answered within a minute."""
    for _ in range(300):
        try:
            if ask() == expected:
                return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def container(rendered: Any) -> dict[str, Any]:
    [container] = rendered["cpu"].pods["gateway"]["spec"]["containers"]
    return container


@pytest.fixture(scope="module")
def first_key() -> tuple[str, str]:
    return new_key("first", ["detect"])


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory, first_key: tuple[str, str]) -> MountedSecret:
    folder = tmp_path_factory.mktemp("pod") / "yolov7"
    return MountedSecret(folder, {"cache_secret": "abc", "redis_url": "redis://127.0.0.1:1/0", "keys": first_key[1]})


@pytest.fixture(scope="module")
def gateway(container: dict[str, Any], secret: MountedSecret, tmp_path_factory: Any) -> Iterator[str]:
    """Its Redis is away, as it is when a cluster starts."""
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {name: value.replace(mounted["secrets"], str(secret.folder)) for name, value in environment.items()}
    port = free_port()
    environment |= {"YOLOV7_PORT": str(port), "YOLOV7_GRPC_PORT": "0", "YOLOV7_DRAIN_DELAY_S": "0"}
    environment["YOLOV7_OPENVINO_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    process = subprocess.Popen([sys.executable, "-m", "service", "serve"], env=os.environ | environment, cwd=ROOT)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(60) == 0


def detected(gateway: str, token: str | None) -> int:
    picture = io.BytesIO()
    Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(picture, "JPEG")
    headers = {"Content-Type": "image/jpeg"} | ({"X-API-Key": token} if token else {})
    return status(f"{gateway}/v1/detect", data=picture.getvalue(), headers=headers)


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_each_probe_is_answered(probe: str, container: dict[str, Any], gateway: str):
    path = container[probe]["httpGet"]["path"]
    assert comes_to(200, lambda: status(f"{gateway}{path}"))


def test_keys_change_while_it_runs(gateway: str, secret: MountedSecret, first_key: tuple[str, str]):
    assert comes_to(200, lambda: status(f"{gateway}/readyz"))
    assert detected(gateway, None) == 401
    assert detected(gateway, first_key[0]) == 200
    token, entry = new_key("second", ["detect"])
    secret.turn({"cache_secret": "abc", "redis_url": "redis://127.0.0.1:1/0", "keys": entry})
    assert comes_to(200, lambda: detected(gateway, token))
    assert detected(gateway, first_key[0]) == 401
