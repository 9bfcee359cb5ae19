"""The Dockerfiles: what their linter says, and what the images promise. deploy/try_image.sh builds one for real."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCKERFILES = sorted((Path(__file__).resolve().parents[2] / "deploy").glob("*.Dockerfile"))
[GATEWAY] = [path for path in DOCKERFILES if path.name == "gateway.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_the_linter_finds_nothing(path: Path):
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if tool is None:
        pytest.skip("needs hadolint")
    checked = subprocess.run([tool, path], check=False, timeout=60, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_every_image_has(path: Path):
    text = path.read_text()
    [base] = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"\S+:[0-9][\w.-]+(@sha256:[0-9a-f]{64})?", base)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert labels == {"title", "description", "licenses", "revision"}
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1].startswith("10001")
    assert "--constraint constraints.txt" in text or "-c /tmp/constraints.txt" in text
    assert text.count("HEALTHCHECK") == 1


def test_the_gateway_has_neither_torch_nor_a_compiler():
    run_stage = GATEWAY.read_text().rpartition("\nFROM ")[2]
    installed = set(re.findall(r"install .*?--no-install-recommends ([^\\&\n]+)", run_stage)[0].split())
    assert installed == {"ca-certificates", "python3"}
    [extras] = re.findall(r"^ARG EXTRAS=(\S+)$", GATEWAY.read_text(), re.MULTILINE)
    assert set(extras.split(",")) <= {"service", "gateway", "triton", "tracing"}
    assert 'CMD ["yolov7-service", "health"]' in run_stage
