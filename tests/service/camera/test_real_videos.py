"""Two real clips of traffic and of people, through the shipped model."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def videos(shared_data: Path) -> Path:
    folder = shared_data / "videos"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/videos")
    return folder


@pytest.mark.parametrize(("name", "found"), [("car-detection.mp4", "Car"), ("one-by-one-person-detection.mp4", None)])
def test_every_frame_of_a_real_clip_is_answered_and_drawn(
    start: Callable[..., Any], make_gateway: Callable[..., Any], repository: Path, videos: Path, tmp_path: Path,
    play: Callable[[Path], list[Any]], name: str, found: str | None,
):  # fmt: skip
    gateway = make_gateway(repository, "vehicles")
    watching = start(videos / name, "--mp4", tmp_path / "boxes.mp4", "--fps", "4", at=gateway)
    assert watching.process.wait(200) == 0
    results = watching.lines(type="result")
    labels = Counter(row["label"] for line in results for row in line["detections"])
    assert len(play(tmp_path / "boxes.mp4")) == len(results) > 20
    assert not watching.lines(type="dropped") + watching.lines(type="error")
    assert found is None or labels.most_common(1)[0][0] == found
