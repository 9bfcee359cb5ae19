"""reference.json: what is written is what the answers say, and what the gateway reads and tells in its metrics."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.client import Result
from service.client.results import Detections, ModelVersion
from service.models.reference import read_reference

from .conftest import DEPLOY, Watched

SHIPPED = DEPLOY.parent / "model_repository" / "vehicles" / "1"


def result(side: float, scores: list[float], labels: tuple[str, ...]) -> Result:
    boxes = np.tile(np.array([[0, 0, side, side]], np.float32), (len(scores), 1))
    found = Detections(boxes, np.array(scores, np.float32), np.zeros(len(scores), np.int32), labels)
    return Result(found, (100, 100), ModelVersion("vehicles", "1"), {}, "", cached=False)


def test_it_says_what_was_answered(tmp_path: Path):
    from reference import reference

    answers = [result(20, [0.9, 0.7], ("Car", "Bus")), result(40, [0.5, 0.3], ("Car", "Car")), result(9, [], ())]
    told = reference(iter(answers), "three pictures")
    assert told == {
        "data": "three pictures", "images": 3, "objects": 4, "score": 0.6, "size": 0.3,
        "classes": {"Bus": 0.25, "Car": 0.75},
    }  # fmt: skip
    (tmp_path / "reference.json").write_text(json.dumps(told))
    assert read_reference(tmp_path / "model.onnx").classes == told["classes"]


def test_a_model_that_finds_nothing_has_none():
    from reference import reference

    with pytest.raises(SystemExit, match="finds nothing in two pictures"):
        reference(iter([result(9, [], ())] * 2), "two pictures")


def test_the_shipped_one_is_what_the_metrics_tell(watched: Watched):
    told = read_reference(SHIPPED / "model.onnx")
    assert sum(told.classes.values()) == pytest.approx(1, abs=1e-3)
    found = watched.query('max by (class) (yolov7_expected_class_ratio{model="vehicles"})')
    assert {series["metric"]["class"]: float(series["value"][1]) for series in found} == told.classes
