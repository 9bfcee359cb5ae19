"""What builds TensorRT plans: its image, its container, and that the server of the plans has the same TensorRT."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "tensorrt.Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def compiling(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]["compile"]


def test_every_server_of_plans_has_the_tensorrt_that_builds_them(compose: dict[str, Any]):
    """NVIDIA's images of one month have one TensorRT. 24.12 has Python 3.12; that of 24.10 was too old for compile."""
    [release] = re.findall(r"^ARG BASE=nvcr\.io/nvidia/tensorrt:(\d\d\.\d\d)-py3\b", DOCKERFILE, re.MULTILINE)
    assert release >= "24.12"
    manifests = [path.read_text() for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml")]
    text = "\n".join([compose["services"]["triton"]["image"], *manifests])
    servers = re.findall(r"nvcr\.io/nvidia/tritonserver:([^\s@]+)", text)  # pinned by digest, or not
    assert len(servers) >= 3
    assert set(servers) == {f"{release}-py3"}


def test_it_sees_one_gpu_the_models_and_the_plans_and_nothing_else(compiling: dict[str, Any]):
    assert compiling["profiles"] == ["compile"]
    assert compiling["network_mode"] == "none"
    [device] = compiling["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert set(compiling["volumes"]) == {"./model_repository:/models:ro", "plans:/plans"}
    assert not {"ports", "secrets", "environment"} & set(compiling)


def test_the_user_of_the_image_may_write_plans_and_nothing_else():
    """A named volume begins as the image's folder of that name, with its owner."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    assert "install -d -o compiler -g compiler /plans" in DOCKERFILE
    assert "useradd --uid 10001 --create-home compiler" in DOCKERFILE


def test_plans_are_served_by_the_same_compose_file(compose: dict[str, Any]):
    assert "plans" in compose["volumes"]
    for name in ("triton", "gateway-gpu"):
        assert "${MODELS:-./model_repository}:/models:ro" in compose["services"][name]["volumes"]


def test_the_command_of_the_image_is_one_that_there_is(tmp_path: Path):
    [entry] = re.findall(r'^ENTRYPOINT \["yolov7-training", (.*)\]$', DOCKERFILE, re.MULTILINE)
    arguments = [argument.strip('" ') for argument in entry.split(",")]
    assert arguments == ["compile", "--repository", "/plans"]
    model = ROOT / "model_repository" / "vehicles" / "1" / "model.onnx"
    command = [sys.executable, "-m", "training", *arguments[:-1], tmp_path / "plans", model]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "TensorRT cannot be imported" in done.stderr


def test_documents_name_the_command():
    """As it stands in the compose file and in the documents, with a path that is one inside the container."""
    for name in ("docs/precision.md", "docs/deploy.md"):
        assert re.search(r"docker compose run --rm compile /models/\S+/model\.fp16\.onnx", (ROOT / name).read_text()), (
            name
        )
