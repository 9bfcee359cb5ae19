"""Every Python example of the documents runs, as it stands, against the shipped model."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = ("README.md", "docs/client.md")
URL = '"http://127.0.0.1:8000"'


def snippets() -> list[Any]:
    """Each example with the document and the line that it begins in."""
    found: list[Any] = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        found += [
            pytest.param(match[1], id=f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
            for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        ]
    return found


@pytest.fixture(scope="module")
def vehicles(make_serving: Callable[..., Any], repository: Path) -> Any:
    return make_serving(model_repository=repository, default_model="vehicles")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with what the examples look at."""
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "street.jpg"), pixels)
    video = cv2.VideoWriter(str(tmp_path / "door.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (160, 120))
    for _ in range(4):
        video.write(pixels)
    video.release()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("snippet", snippets())
def test_an_example_runs(vehicles: Any, snippet: str, capsys: pytest.CaptureFixture[str]):
    assert URL in snippet
    exec(snippet.replace(URL, f'"{vehicles.url}", grpc="{vehicles.grpc}"'), {})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(snippets()) >= 4
