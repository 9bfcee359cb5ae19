"""What each model sees, and how its pictures end: who is served how well, and whether what comes in has changed.

Objects count from a fixed score on, so that a request which asks for less does not change what is measured.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from operator import neg

import prometheus_client

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

    classes: tuple[prometheus_client.Counter, ...]
    score: prometheus_client.Histogram
    size: prometheus_client.Histogram
    duration: prometheus_client.Histogram


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
        scores = detections.scores.tolist()
        # Best first, and mostly few: for so few, NumPy's calls cost more than these loops.
        count = bisect_right(scores, -LEAST_SCORE, key=neg)
        last = len(series.classes) - 1
        for class_id, found in Counter(detections.class_ids[:count].tolist()).items():
            series.classes[min(class_id, last)].inc(found)
        noted = min(count, MOST_NOTED)
        pixels = image_hw[0] * image_hw[1]
        for score, (x1, y1, x2, y2) in zip(scores[:noted], detections.boxes[:noted].tolist(), strict=True):
            series.score.observe(score)
            series.size.observe(sqrt(max((x2 - x1) * (y2 - y1), 0.0) / pixels))

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
