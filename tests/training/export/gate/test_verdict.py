"""When an engine has lost too much, and how alike two engines see."""

import math
from dataclasses import replace

import numpy as np
import pytest

from service.vision.detections import Detections
from training.config import ConfigError
from training.evaluate import ClassScore, Evaluation
from training.export.gate.agreement import Agreement, Alike, agreement
from training.export.gate.trial import Trial, most_at_once
from training.export.gate.verdict import Bounds, judge, worst_class

PARENT = Evaluation(0.5, 0.7, 0.5, math.nan, 0.5, 0.5, 0.6, {"Car": ClassScore(0.6, 0.8), "Bus": ClassScore(0.4, 0.6)})
WHOLE = Agreement(1.0, (0.0, 0.0), (0.0, 0.0))
TRIAL = Trial("model.onnx", "f32", "openvino 1", "CPU", PARENT, {}, WHOLE, 1.0, 8, {(64, 96): 1.0}, {"1": 5, "8": 20})
ALIKE = Alike(iou=0.8, score=0.1, floor=0.25)


def fallen(ap: float, bus: float) -> Evaluation:
    return replace(PARENT, ap=ap, per_class=PARENT.per_class | {"Bus": ClassScore(bus, 0.5)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"evaluation": fallen(0.49, 0.38)}, "AP fell by 1.00 points, 0.5 are allowed"),
        ({"evaluation": fallen(0.5, 0.3)}, "class Bus fell by 10.00 points, 3 are allowed"),
        ({"alike": replace(WHOLE, share=0.7)}, "only 70.0% of boxes agree with the parent's, 80% must"),
        ({"together": 0.9}, "only 90.0% of boxes are the same in a batch and alone"),
        ({"shapes": {(64, 96): 0.1}}, "only 10.0% of boxes agree at 64x96"),
    ],
)
def test_what_speaks_against_an_engine_is_said(change: dict, match: str) -> None:
    against, *worst = judge(replace(TRIAL, **change), PARENT, Bounds())
    assert against.startswith(match)
    assert worst == (["class Bus lost most, 2.00 points"] if match.startswith("AP") else [])


def test_small_losses_and_what_has_no_box_are_no_reason() -> None:
    trial = replace(
        TRIAL, evaluation=fallen(0.497, 0.38), alike=replace(WHOLE, share=math.nan), shapes={(64, 96): math.nan}
    )
    assert judge(trial, PARENT, Bounds()) == []
    assert worst_class(PARENT, trial.evaluation) == ("Bus", pytest.approx(2.0))


def found(boxes: list[list[float]], scores: list[float], class_ids: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(class_ids, np.int32)
    )


def test_agreement_is_the_share_of_boxes_that_have_their_like() -> None:
    box, other = [0, 0, 10, 10], [20, 20, 40, 40]
    one = {1: found([box, other], [0.9, 0.5], [0, 1])}
    assert agreement(one, one, ALIKE) == Agreement(1.0, (0.0, 0.0), (0.0, 0.0))
    assert agreement(one, {1: found([box], [0.85], [0])}, ALIKE).share == pytest.approx(2 / 3)
    assert agreement(one, {1: found([box], [0.85], [1])}, ALIKE).share == 0.0
    assert agreement(one, {1: found([box], [0.6], [0])}, ALIKE).share == 0.0
    assert agreement(one, {1: found([], [], [])}, ALIKE).share == 0.0


def test_how_far_likes_lie_apart_is_told_of_the_nearest() -> None:
    one = {1: found([[0, 0, 100, 100], [200, 200, 300, 300]], [0.9, 0.5], [0, 1])}
    other = {1: found([[5, 0, 100, 100], [1, 0, 100, 98], [200, 200, 300, 304]], [0.9, 0.85, 0.5], [0, 0, 1])}
    found_apart = agreement(one, other, ALIKE)
    assert found_apart.boxes_px == (3.0, 4.0)
    assert found_apart.scores == pytest.approx((0.025, 0.05))


def test_boxes_below_the_floor_are_partners_but_not_asked_about() -> None:
    box = [0, 0, 10, 10]
    weak, strong = {1: found([box], [0.24], [0])}, {1: found([box], [0.26], [0])}
    assert agreement(weak, strong, ALIKE).share == 1.0
    assert math.isnan(agreement(weak, weak, ALIKE).share)


@pytest.mark.parametrize("bounds", [{"drop": math.nan}, {"class_drop": -1}, {"alike": 80}, {"shape": math.nan}])
def test_bounds_that_all_or_none_would_pass_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bounds))):
        Bounds(**bounds)


def test_of_a_slow_engine_no_more_is_asked_at_once_than_it_answers_in_half_a_minute() -> None:
    assert [most_at_once(latency_ms) for latency_ms in (0.1, 100, 6_000, 50_000)] == [16, 16, 5, 1]
