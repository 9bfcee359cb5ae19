"""What each model sees, and how its pictures end: who is served how well, and whether what comes in has changed.

Objects count from a fixed score on, so that a request which asks for less does not change what is measured.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter, Histogram

from service.detector.source import Served
from service.engine.protocol import ModelVersion
from service.errors import DeadlineExceeded, EngineFailed, ImageError, ServiceError
from service.metrics import Metrics
from service.vision.detections import Detections

# As high as the default of requests.
LEAST_SCORE = 0.25
# Of a picture so many, the best, are noted with their scores and sizes: observing one takes a microsecond.
MOST_NOTED = 20
# Of a model so many classes have a series each; what is beyond is one more.
MOST_CLASSES = 100
OTHER = "other"
OUTCOMES = ("answered", "image", "engine", "deadline", "refused", "left", "bug")


@dataclass(frozen=True, slots=True)
class _Series:
    """Of one model version: the library's own look-up by label costs more than the observation."""

    classes: tuple[Counter, ...]
    score: Histogram
    size: Histogram
    duration: Histogram


class Sightings:
    """Knows nothing of requests, thresholds or the cache: it is told what was answered."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._series: dict[ModelVersion, _Series] = {}

    @contextmanager
    def picture(self, model: ModelVersion) -> Iterator[None]:
        """Counts a picture by how the block ends."""
        outcome = "bug"
        try:
            yield
            outcome = "answered"
        except BaseException as exc:
            outcome = _outcome(exc)
            raise
        finally:
            self._metrics.images.labels(*model, outcome).inc()

    def answered(self, served: Served, detections: Detections, image_hw: tuple[int, int], seconds: float) -> None:
        """What was found in a picture of that size, so long after it was complete."""
        series = self._of(served)
        series.duration.observe(seconds)
        count = int(np.count_nonzero(detections.scores >= LEAST_SCORE))  # best first
        if not count:
            return
        ids = np.minimum(detections.class_ids[:count], len(series.classes) - 1)
        for class_id, found in zip(*(column.tolist() for column in np.unique(ids, return_counts=True)), strict=True):
            series.classes[class_id].inc(found)
        boxes = detections.boxes[: min(count, MOST_NOTED)]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for size in np.sqrt(areas / (image_hw[0] * image_hw[1])).tolist():
            series.size.observe(size)
        for score in detections.scores[: len(boxes)].tolist():
            series.score.observe(score)

    def _of(self, served: Served) -> _Series:
        series = self._series.get(served.model)
        if series is None:
            metrics, model = self._metrics, served.model
            series = self._series[model] = _Series(
                tuple(metrics.detected.labels(*model, name) for name in class_labels(served.spec.class_names)),
                metrics.detection_score.labels(*model),
                metrics.detection_size.labels(*model),
                metrics.image_duration.labels(*model),
            )
        return series


def class_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    """A model's classes as series are labelled: all of them, or the first and the rest as one."""
    return names if len(names) <= MOST_CLASSES else (*names[:MOST_CLASSES], OTHER)


def _outcome(exc: BaseException) -> str:
    match exc:
        case asyncio.CancelledError():
            return "left"
        case ImageError():
            return "image"
        case EngineFailed():
            return "engine"
        case DeadlineExceeded():
            return "deadline"
        case ServiceError():
            return "refused"
        case _:
            return "bug"
