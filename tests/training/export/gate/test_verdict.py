"""When an engine has lost too much, and how alike two engines see."""

import math
from dataclasses import replace

import numpy as np
import pytest

from service.vision.detections import Detections
from training.evaluate import ClassScore, Evaluation
from training.export.gate.agreement import Alike, agreement
from training.export.gate.trial import Trial
from training.export.gate.verdict import Bounds, judge, worst_class

PARENT = Evaluation(0.5, 0.7, 0.5, math.nan, 0.5, 0.5, 0.6, {"Car": ClassScore(0.6, 0.8), "Bus": ClassScore(0.4, 0.6)})
TRIAL = Trial("model.onnx", "f32", "openvino 1", "CPU", PARENT, {}, 1.0, 1.0, 8, {(64, 96): 1.0}, {"1": 5, "8": 20})
ALIKE = Alike(iou=0.8, score=0.1, floor=0.25)


def fallen(ap: float, bus: float) -> Evaluation:
    return replace(PARENT, ap=ap, per_class=PARENT.per_class | {"Bus": ClassScore(bus, 0.5)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"evaluation": fallen(0.49, 0.4)}, "AP fell by 1.00 points, 0.5 are allowed"),
        ({"evaluation": fallen(0.5, 0.3)}, "class Bus fell by 10.00 points, 3 are allowed"),
        ({"alike": 0.7}, "only 70.0% of boxes agree with the parent's, 80% must"),
        ({"together": 0.9}, "only 90.0% of boxes are the same in a batch and alone"),
        ({"shapes": {(64, 96): 0.1}}, "only 10.0% of boxes agree at 64x96"),
    ],
)
def test_what_speaks_against_an_engine_is_said(change: dict, match: str) -> None:
    (against,) = judge(replace(TRIAL, **change), PARENT, Bounds())
    assert against.startswith(match)


def test_small_losses_and_what_has_no_box_are_no_reason() -> None:
    trial = replace(TRIAL, evaluation=fallen(0.497, 0.38), alike=math.nan, shapes={(64, 96): math.nan})
    assert judge(trial, PARENT, Bounds()) == []
    assert worst_class(PARENT, trial.evaluation) == ("Bus", pytest.approx(2.0))


def found(boxes: list[list[float]], scores: list[float], class_ids: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(class_ids, np.int32)
    )


def test_agreement_is_the_share_of_boxes_that_have_their_like() -> None:
    box, other = [0, 0, 10, 10], [20, 20, 40, 40]
    one = {1: found([box, other], [0.9, 0.5], [0, 1])}
    assert agreement(one, one, ALIKE) == 1.0
    assert agreement(one, {1: found([box], [0.85], [0])}, ALIKE) == pytest.approx(2 / 3)
    assert agreement(one, {1: found([box], [0.85], [1])}, ALIKE) == 0.0
    assert agreement(one, {1: found([box], [0.6], [0])}, ALIKE) == 0.0
    assert agreement(one, {1: found([], [], [])}, ALIKE) == 0.0


def test_boxes_below_the_floor_are_partners_but_not_asked_about() -> None:
    box = [0, 0, 10, 10]
    weak, strong = {1: found([box], [0.24], [0])}, {1: found([box], [0.26], [0])}
    assert agreement(weak, strong, ALIKE) == 1.0
    assert math.isnan(agreement(weak, weak, ALIKE))
