import sys
from pathlib import Path

import numpy as np
import pytest

from service.client.results import Detection, Detections

# What supervision.Detections takes, as of 0.31.
SUPERVISION = """
from dataclasses import dataclass, field
@dataclass
class Detections:
    xyxy: object
    mask: object = None
    confidence: object = None
    class_id: object = None
    tracker_id: object = None
    data: dict = field(default_factory=dict)
"""


@pytest.fixture
def found() -> Detections:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    return Detections(boxes, np.array([0.75, 0.5], np.float32), np.array([2, 0], np.int32), ("Car", "Bus"))


def test_iteration_gives_plain_values(found: Detections):
    assert len(found) == 2
    assert list(found) == [Detection("Car", 2, 0.75, (1, 2, 3, 4)), Detection("Bus", 0, 0.5, (5, 6, 7, 8))]


def test_supervision_gets_the_arrays_and_the_names(found: Detections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "supervision.py").write_text(SUPERVISION)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "supervision", raising=False)
    given = found.to_supervision()
    assert given.xyxy is found.boxes
    assert given.confidence is found.scores
    assert given.class_id is found.class_ids
    assert given.data["class_name"].tolist() == ["Car", "Bus"]
    del sys.modules["supervision"]
