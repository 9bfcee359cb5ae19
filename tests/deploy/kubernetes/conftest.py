"""The manifests as `kubectl apply -k` would send them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
OVERLAYS = (
    "cpu", "gpu", "cell", "monitoring", "cell-monitoring", "tls", "external-redis", "tracing", "monitoring-tls",
)  # fmt: skip
COMPONENTS = {
    "tls": ("cpu", "tls"),
    "external-redis": ("gpu", "external-redis"),
    "tracing": ("cpu", "tracing"),
    "monitoring-tls": ("monitoring", "tls"),
}

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """All objects of one kustomization."""

    objects: tuple[Manifest, ...]

    def of(self, *kinds: str) -> list[Manifest]:
        return [item for item in self.objects if item["kind"] in kinds]

    def the(self, kind: str, name: str) -> Manifest:
        [found] = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found

    @property
    def pods(self) -> dict[str, Manifest]:
        """What pods are made from, by the name of what makes them."""
        makers = self.of("Deployment", "StatefulSet", "Job")
        return {maker["metadata"]["name"]: maker["spec"]["template"] for maker in makers}


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/kubernetes with secrets in it, and with an overlay for each component that none has."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(ROOT / "deploy" / "kubernetes", folder, ignore=shutil.ignore_patterns("made"))
    subprocess.run([ROOT / "deploy/compose/secrets.sh", folder / "secrets/made"], check=True, timeout=30)
    for name, (overlay, component) in COMPONENTS.items():
        (folder / "overlays" / name).mkdir()
        wanted = {"resources": [f"../{overlay}"], "components": [f"../../{component}"]}
        (folder / "overlays" / name / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    return folder


@pytest.fixture(scope="session")
def rendered(manifests: Path) -> dict[str, Rendered]:
    """By the name of the overlay; with the secrets and the training."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip("needs kustomize or kubectl")
    every: dict[str, Rendered] = {}
    for path in (*(f"overlays/{name}" for name in OVERLAYS), "secrets", "training"):
        built = subprocess.run([*command, manifests / path], capture_output=True, text=True, timeout=60, check=False)
        assert built.returncode == 0, built.stderr
        every[Path(path).name] = Rendered(tuple(yaml.safe_load_all(built.stdout)))
    return every
