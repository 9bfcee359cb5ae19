"""What each model sees is counted, by class, score and size, and how its pictures end."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.app import Service
from service.detector.sightings import MOST_CLASSES, MOST_NOTED, Sightings, class_labels
from service.engine.protocol import ModelVersion
from service.errors import DeadlineExceeded, EngineFailed, Overloaded, UndecodableImage
from service.metrics import ALARMING, Metrics
from service.vision.detections import Detections

pytestmark = pytest.mark.anyio

MODEL = ModelVersion("blocks", "1")
LABELS = {"model": MODEL.name, "version": MODEL.version}


def detections(scores: list[float], class_ids: list[int], side: float = 30.0) -> Detections:
    boxes = np.tile(np.array([[0, 0, side, side]], np.float32), (len(scores), 1))
    return Detections(boxes, np.array(scores, np.float32), np.array(class_ids, np.int32))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"yolov7_{name}", LABELS | labels) or 0.0


async def test_objects_count_by_class_from_a_fixed_score_on(service: Service, metrics: Metrics):
    served = service.models.resolve()
    Sightings(metrics).answered(served, detections([0.9, 0.8, 0.3, 0.2], [2, 0, 2, 1]), (100, 100), 0.05)
    counted = {name: value(metrics, "detections_total", **{"class": name}) for name in ("red", "green", "blue")}
    assert counted == {"red": 1, "green": 0, "blue": 2}
    assert value(metrics, "detection_score_count") == 3
    assert value(metrics, "detection_score_sum") == pytest.approx(2.0)
    assert value(metrics, "detection_size_ratio_sum") == pytest.approx(0.9)
    assert value(metrics, "image_duration_seconds_sum") == 0.05


async def test_a_picture_of_nothing_counts_as_answered(service: Service, metrics: Metrics):
    sightings = Sightings(metrics)
    with sightings.picture(MODEL):
        sightings.answered(service.models.resolve(), detections([], []), (100, 100), 0.05)
    assert value(metrics, "images_total", outcome="answered") == 1
    assert value(metrics, "image_duration_seconds_count") == 1
    assert value(metrics, "detection_score_count") == 0


async def test_of_a_crowd_the_best_are_noted_and_all_are_counted(service: Service, metrics: Metrics):
    crowd = detections([0.9] * 300, [0] * 300)
    Sightings(metrics).answered(service.models.resolve(), crowd, (100, 100), 0.05)
    assert value(metrics, "detections_total", **{"class": "red"}) == 300
    assert value(metrics, "detection_score_count") == value(metrics, "detection_size_ratio_count") == MOST_NOTED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UndecodableImage("cut off"), "image"),
        (EngineFailed("dead"), "engine"),
        (DeadlineExceeded("late"), "deadline"),
        (Overloaded("full"), "refused"),
        (asyncio.CancelledError(), "left"),
        (ZeroDivisionError(), "bug"),
    ],
)
def test_a_picture_that_failed_counts_as_what_it_failed_of(metrics: Metrics, error: BaseException, outcome: str):
    with pytest.raises(type(error)), Sightings(metrics).picture(MODEL):
        raise error
    assert value(metrics, "images_total", outcome=outcome) == 1


def test_a_model_of_very_many_classes_has_a_bounded_number_of_series(metrics: Metrics):
    names = tuple(str(number) for number in range(1000))
    assert len(class_labels(names)) == MOST_CLASSES + 1
    assert class_labels(names)[-1] == "other"
    assert class_labels(names[:80]) == names[:80]


async def test_every_request_is_counted_with_its_model(
    make_service: Callable[..., Awaitable[Service]], png: bytes, detect, sample: Callable[..., float]
):
    service = await make_service()
    await detect(service, png)
    with pytest.raises(UndecodableImage):
        await detect(service, png[:60])
    for outcome in ("answered", "image"):
        assert sample(service, "images_total", outcome=outcome, **LABELS) == 1
    assert sample(service, "detections_total", **LABELS, **{"class": "red"}) == 1
    assert sample(service, "detections_total", **LABELS, **{"class": "blue"}) == 1
    assert sample(service, "queue_capacity") == service.settings.queue_capacity


def test_errors_that_alerts_look_for_are_there_before_the_first(metrics: Metrics):
    for kind in ALARMING:
        assert metrics.registry.get_sample_value("yolov7_errors_total", {"kind": kind}) == 0
