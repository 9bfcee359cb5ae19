"""The gateway as a process with what its pod gives it; keys and certificate change as the kubelet changes Secrets."""

import io
import os
import socket
import ssl
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


def anyone() -> ssl.SSLContext:
    """Trusts every certificate, as a kubelet's probes do."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate_at(port: int) -> bytes:
    context = anyone()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain) as secured:
        return secured.getpeercert(binary_form=True) or b""


def issued(folder: Path, name: str) -> dict[str, str]:
    """A key and a certificate, under the names that cert-manager gives them."""
    key, chain = folder / f"{name}.key", folder / f"{name}.crt"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return {"tls.crt": chain.read_text(), "tls.key": key.read_text()}


def status(url: str, **request: Any) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=20, context=anyone()) as answer:
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
    """With the component `tls`, which only adds to the overlay `cpu`."""
    [container] = rendered["tls"].pods["gateway"]["spec"]["containers"]
    return container


@pytest.fixture(scope="module")
def first_key() -> tuple[str, str]:
    return new_key("first", ["detect"])


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory, first_key: tuple[str, str]) -> MountedSecret:
    folder = tmp_path_factory.mktemp("pod") / "yolov7"
    return MountedSecret(folder, {"cache_secret": "abc", "redis_url": "redis://127.0.0.1:1/0", "keys": first_key[1]})


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> MountedSecret:
    folder = tmp_path_factory.mktemp("certificates")
    return MountedSecret(folder / "tls", issued(folder, "first"))


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(
    container: dict[str, Any], secret: MountedSecret, tls: MountedSecret, grpc_port: int, compiled: Path
) -> Iterator[str]:
    """Its Redis is away, as it is when a cluster starts."""
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for name, folder in (("secrets", secret.folder), ("tls", tls.folder)):
        environment = {key: value.replace(mounted[name], str(folder)) for key, value in environment.items()}
    port = free_port()
    environment |= {"YOLOV7_PORT": str(port), "YOLOV7_GRPC_PORT": str(grpc_port), "YOLOV7_DRAIN_DELAY_S": "0"}
    environment["YOLOV7_OPENVINO_CACHE_DIR"] = str(compiled)
    process = subprocess.Popen([sys.executable, "-m", "service", "serve"], env=os.environ | environment, cwd=ROOT)
    yield f"https://127.0.0.1:{port}"
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


def test_a_renewed_certificate_is_served_while_it_runs(
    gateway: str, grpc_port: int, tls: MountedSecret, tmp_path: Path
):
    assert comes_to(200, lambda: status(f"{gateway}/readyz"))
    ports = (int(gateway.rpartition(":")[2]), grpc_port)
    before = {certificate_at(port) for port in ports}
    renewed = issued(tmp_path, "second")
    tls.turn(renewed)
    expected = ssl.PEM_cert_to_DER_cert(renewed["tls.crt"])
    assert before != {expected}
    for port in ports:
        assert comes_to(True, lambda port=port: certificate_at(port) == expected)
