"""deploy/pin_images.py: one command, and everything that is pulled is pulled by its digest."""

import hashlib
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy" / "pin_images.py"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What names images, in a copy."""
    (tmp_path / "deploy").mkdir()
    for path in (ROOT / "deploy").glob("*.Dockerfile"):
        shutil.copy(path, tmp_path / "deploy")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copytree(ROOT / "deploy/kubernetes", tmp_path / "deploy/kubernetes", ignore=shutil.ignore_patterns("made"))
    return tmp_path


def digests(day: str) -> Callable[[str], str]:
    """What registries say on a day."""
    return lambda image: f"sha256:{hashlib.sha256(f'{day} {image}'.encode()).hexdigest()}"


def test_what_is_pulled_by_compose_and_builds_is_pinned_and_what_is_built_is_not(script: dict[str, Any], tree: Path):
    for day in ("monday", "tuesday"):  # the second time it moves what there is
        digest_of = digests(day)
        script["pin"](tree, digest_of)
        services = yaml.safe_load((tree / "docker-compose.yml").read_text())["services"]
        for service in services.values():
            image, _, digest = service["image"].partition("@")
            assert digest == ("" if image.startswith("yolov7-") else digest_of(image))
        [base] = [line for line in (tree / "deploy/training.Dockerfile").read_text().splitlines() if "BASE=" in line]
        assert base.endswith("@" + digest_of(base.removeprefix("ARG BASE=").partition("@")[0]))


def test_an_overlay_with_the_component_pulls_by_digest(script: dict[str, Any], tree: Path):
    script["pin"](tree, digests("monday"))
    folder = tree / "deploy/kubernetes/overlays/mine"
    folder.mkdir()
    wanted = {"resources": ["../cell-monitoring"], "components": ["../../pinned"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    tool = next(([found, *rest] for name, *rest in (("kustomize", "build"), ("kubectl", "kustomize"))
                 if (found := shutil.which(name))), None)  # fmt: skip
    if tool is None:
        pytest.skip("needs kustomize or kubectl")
    built = subprocess.run([*tool, folder], capture_output=True, text=True, timeout=60, check=True).stdout
    images = [line.rpartition("image: ")[2] for line in built.splitlines() if "image: " in line]
    assert {image for image in images if "@sha256:" not in image} == {"yolov7-gateway:0.1.0"}
    assert len(set(images)) == 4


def test_without_one_digest_nothing_is_written(script: dict[str, Any], tree: Path):
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    lines = f"redis:7.4-alpine {digests('monday')('redis:7.4-alpine')}\n"
    with pytest.raises(Exception, match="no digest is given for it"):
        script["pin"](tree, script["from_lines"](lines))
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("line", ["redis:7.4-alpine by its tag", "redis:7.4-alpine", "# redis:7.4-alpine"])
def test_a_line_without_a_digest_is_none(script: dict[str, Any], line: str):
    with pytest.raises(Exception, match=r"^redis:7\.4-alpine: no digest is given for it$"):
        script["from_lines"](f"{line}\n")("redis:7.4-alpine")


def test_what_a_registry_that_is_not_there_says_is_one_line(script: dict[str, Any]):
    with pytest.raises(Exception, match=r"^registry\.invalid/nothing:1: [^\n]+$"):
        script["from_registry"]("registry.invalid/nothing:1")
