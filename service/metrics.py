"""Every Prometheus series of the service, in base units. Whoever measures something says so here and nowhere else.

Labels are bounded: a route is its template, a model one that is loaded, a stage or reason one of a few words, an
endpoint one of the configured. This module knows nothing of what it counts: it is given numbers and words.

With several processes each writes its own file (PROMETHEUS_MULTIPROC_DIR, set before this module is imported), and
`exposition` adds them up; a gauge says by its mode how.
"""

import os
from collections.abc import Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

PREFIX = "yolov7"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
DETECTIONS = (0, 1, 2, 5, 10, 20, 50, 100, 300)
SCORES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
PIXELS = (1e4, 1e5, 3e5, 1e6, 2e6, 4e6, 8e6, 16e6, 50e6)
# Kinds of errors that are there from the start, at 0: to an alert, what begins at 1 has not increased.
ALARMING = ("internal", "stream-bug", "keys", "certificate", "cache", "rates")
SHARED = "PROMETHEUS_MULTIPROC_DIR"
Mode = Literal["livesum", "livemin", "livemax"]


class Metrics:
    """The series, registered in `registry`. One object per process; a test has its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, mode: Mode = "livesum") -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        self.request_duration = histogram(
            "request_duration_seconds", "From the first byte of a request to the last of its answer.", SECONDS,
            ("transport", "route"),
        )  # fmt: skip
        self.stage_duration = histogram("stage_duration_seconds", "Time in each stage.", SECONDS, ("stage",))
        self._stages: dict[str, Histogram] = {}
        self.queue_wait = histogram("queue_wait_seconds", "From joining the queue to the start of the batch.", SECONDS)
        self.batch_size = histogram("batch_size", "Images per batch.", IMAGES)
        self.detections = histogram("detections_per_image", "Detections answered per image.", DETECTIONS)
        self.images = counter(
            "images", "Complete pictures of requests and streams, by how they ended.", "model", "version", "outcome"
        )
        self.image_duration = histogram(
            "image_duration_seconds", "From a complete picture to its detections.", SECONDS, ("model", "version")
        )
        self.detected = counter(
            "detections", "Objects answered that score 0.25 or more.", "model", "version", "class"
        )  # fmt: skip
        self.detection_score = histogram(
            "detection_score", "Scores of the objects that are counted in detections.", SCORES, ("model", "version")
        )
        self.detection_size = histogram(
            "detection_size_ratio", "Their sizes: root of the box's part of the picture.", RATIOS, ("model", "version")
        )
        self.expected_class = gauge(
            "expected_class_ratio", "A class's part of the objects in the reference data.", "model", "version", "class",
            mode="livemax",
        )  # fmt: skip
        self.expected_score = gauge(
            "expected_score", "Mean score of the objects in the reference data.", "model", "version", mode="livemax"
        )
        self.expected_size = gauge(
            "expected_size_ratio", "Mean size of the objects in the reference data.", "model", "version", mode="livemax"
        )
        self.image_pixels = histogram("image_pixels", "Pixels per decoded image.", PIXELS)
        self.frame_age = histogram(
            "frame_age_seconds", "From the receipt of a frame to its answer.", SECONDS, ("transport",)
        )
        self.frames = counter("frames", "Frames of streams, by what became of them.", "transport", "outcome")
        self.streams = gauge("streams_open", "Streams of frames that are open.", "transport")
        self.requests = counter("requests", "Requests answered.", "transport", "route", "code")
        self.rejected = counter("rejected", "Requests refused before any work was done.", "reason")
        self.dropped = counter("dropped", "Accepted images that were never inferred.", "reason")
        self.errors = counter(
            "errors", "Answers that were errors, by type, and failures that were worked around.", "kind"
        )
        for kind in ALARMING:
            self.errors.labels(kind)
        self.inferences = counter("inferences", "Images inferred.", "model", "version")
        self.cache = counter("cache", "Look-ups of the candidate cache, by how they ended.", "result")
        self.cache_bytes = gauge("cache_bytes", "Bytes held by the cache in memory.")
        self.in_flight = gauge("requests_in_flight", "Requests being worked on.")
        self.queue_length = gauge("queue_length", "Images waiting for a batch.")
        self.queue_capacity = gauge("queue_capacity", "Images that may wait for a batch at once.")
        self.concurrency_limit = gauge("concurrency_limit", "Requests that may be in flight at once.")
        self.model_ready = gauge(
            "model_ready", "1 where requests for it are taken.", "model", "version", mode="livemin"
        )
        self.known_image = gauge(
            "known_image_found", "1 where the last run of the known image found what is known to be in it.",
            "model", "version", mode="livemin",
        )  # fmt: skip
        self.known_image_at = gauge(
            "known_image_timestamp_seconds", "When the known image was last run to its end.", "model", "version",
            mode="livemin",
        )  # fmt: skip
        self.endpoint_up = gauge("engine_endpoint_up", "1 where the engine answers.", "endpoint", mode="livemin")
        self.reloads = counter("model_reloads", "Models that were reloaded because they had died.", "model")
        self.build_info = gauge("build_info", "Always 1.", "version", "engine", mode="livemax")
        self.started_at = gauge(
            "start_time_seconds", "When this process started, the latest of several.", mode="livemax"
        )

    def observe_stages(self, seconds: Mapping[str, float]) -> None:
        """Seconds by stage."""
        for stage, value in seconds.items():
            series = self._stages.get(stage)
            if series is None:
                # Kept, because the library's own look-up by label costs more than the observation.
                series = self._stages[stage] = self.stage_duration.labels(stage)
            series.observe(value)

    def exposition(self) -> bytes:
        """What a scrape is answered: the series of this process, or of all where several share a folder."""
        if not os.environ.get(SHARED):
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
