"""One engine on trial: what a running service answers with it, against what the parent sees.

    AP          every picture of the set, several at once, by the protocol ``served``
    agreement   the share of boxes that the parent has too
    batches     the same pictures many at once, against one after the other
    shapes      a few pictures stretched to each input shape, against ONNX Runtime in float32
    latency     one picture alone, and eight that come at once

It knows an endpoint, and neither files nor what started the service.
"""

import re
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from service.vision.detections import Detections
from training.evaluate import Endpoint, EndpointError, Evaluation, detect_endpoint, score
from training.evaluate.endpoint import ask, ask_object, post_image, read_detections, served_path
from training.evaluate.progress import shown
from training.export.gate.agreement import Agreement, Alike, agreement
from training.export.gate.subject import FLOOR, PICTURES, Subject
from training.export.session import ExportError

SAME_OBJECT = Alike(iou=0.8, score=0.1, floor=FLOOR)
# Of a batch: the same kernels on the same numbers, in another order of summation at most.
SAME_ANSWER = Alike(iou=0.95, score=0.02, floor=0.05)
AT_ONCE = 8
ROUNDS = 3
# What is asked at once must be answered before requests expire, which is after a minute.
_AT_ONCE_MS = 30_000
_BUCKET = re.compile(r'^yolov7_batch_size_bucket\{.*?le="([0-9.]+)".*?\} ([0-9.e+]+)$', re.MULTILINE)


class NotReady(ExportError):
    """The service has loaded the engine, which does not find on the known images what it must."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found. file: the engine file. precision: what the service says it computes in. engine: and version.

    alike: the parent's boxes and this engine's. together: the share of boxes that pictures have in a batch and alone;
    largest batch: how many of them the service joined at most, 0 where it does not tell. shapes: the share for each
    input shape (H, W) that pictures can get; NaN where there is no box. All shares are of 1. url: of a service that ran
    before; empty for one that was started for this.
    """

    file: str
    precision: str
    engine: str
    device: str
    evaluation: Evaluation
    detections: Mapping[int, Detections] = field(repr=False)
    alike: Agreement
    together: float
    largest_batch: int
    shapes: Mapping[tuple[int, int], float]
    latency_ms: Mapping[str, float]
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Alone:
    """The first pictures, each asked for when the service had nothing else to do."""

    files: tuple[tuple[str, bytes], ...]
    found: Mapping[int, Detections]
    latency_ms: float


def most_at_once(latency_ms: float) -> int:
    """How many pictures may be asked for at once so that all are answered in time, if one alone takes so long."""
    return max(1, min(PICTURES, int(_AT_ONCE_MS / max(latency_ms, 1))))


def try_engine(endpoint: Endpoint, file: str, subject: Subject) -> Trial:
    """Ask the service everything. Raises EndpointError, ExportError."""
    about = describe(endpoint, subject.name)
    alone = _ask_alone(endpoint, subject)
    latency = {"1": alone.latency_ms, **_ask_at_once(endpoint, subject.name, alone)}
    dataset = subject.dataset
    title = f"{subject.name} {about['precision']}"
    found = dict(shown(detect_endpoint(endpoint, subject.name, dataset), len(dataset), title))
    return Trial(
        file=file,
        precision=about["precision"],
        engine=about["engine"],
        device=about["device"],
        evaluation=score(dataset, found.items()),
        detections=found,
        alike=agreement(subject.parent, found, SAME_OBJECT),
        together=_together(endpoint, subject, alone),
        largest_batch=_largest_batch(endpoint),
        shapes=_try_shapes(endpoint, subject),
        latency_ms={name: round(value, 2) for name, value in latency.items()},
    )


def try_batches(endpoint: Endpoint, subject: Subject, trial: Trial) -> tuple[float, int]:
    """Return ``together`` and ``largest_batch`` of a service that joins pictures, against one that does not."""
    describe(endpoint, subject.name)
    alone = _ask_alone(endpoint, subject)
    before = {image.id: trial.detections[image.id] for image in subject.pictures}
    shares = [agreement(before, alone.found, SAME_ANSWER).share, _together(endpoint, subject, alone)]
    return min(shares), _largest_batch(endpoint)


def describe(endpoint: Endpoint, name: str) -> dict[str, Any]:
    """Return what the service says of the model. Raises EndpointError, and ExportError where it takes no requests."""
    about = ask_object(endpoint, f"/v1/models/{name}")
    if missing := {"version", "ready", "reason", "sha256", "engine", "device", "precision"} - set(about):
        raise ExportError(f"{endpoint} says nothing of {min(missing)}: is it the service, and of this version?")
    if not about["ready"]:
        raise NotReady(f"{name}/{about['version']} is not ready: {about['reason']}")
    return about


def _ask_alone(endpoint: Endpoint, subject: Subject) -> _Alone:
    path = served_path(subject.name)
    files = tuple((image.path.name, image.path.read_bytes()) for image in subject.pictures)
    post_image(endpoint, path, files[0][1], files[0][0])  # the first request of all pays for what is done once
    found, took = {}, []
    for image, (name, data) in zip(subject.pictures, files, strict=True):
        answer, seconds = _timed(lambda name=name, data=data: post_image(endpoint, path, data, name))  # type: ignore[misc]
        found[image.id] = read_detections(answer)
        took.append(seconds)
    return _Alone(files, found, 1000 * statistics.median(took))


def _ask_at_once(endpoint: Endpoint, model: str, alone: _Alone) -> dict[str, float]:
    """Milliseconds until eight pictures that come at once are answered, the median of a few times; none if too many."""
    if most_at_once(alone.latency_ms) < AT_ONCE:
        return {}
    path = served_path(model)
    files = [alone.files[index % len(alone.files)] for index in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def burst() -> list[dict[str, Any]]:
            return list(pool.map(lambda file: post_image(endpoint, path, file[1], file[0]), files))

        return {str(AT_ONCE): 1000 * statistics.median(_timed(burst)[1] for _ in range(ROUNDS))}


def _together(endpoint: Endpoint, subject: Subject, alone: _Alone) -> float:
    """The share of boxes that pictures have alone and at once."""
    path = served_path(subject.name)
    shares = []
    with ThreadPoolExecutor(most_at_once(alone.latency_ms)) as pool:
        for _ in range(ROUNDS):
            answers = pool.map(lambda file: read_detections(post_image(endpoint, path, file[1], file[0])), alone.files)
            found = dict(zip(alone.found, answers, strict=True))
            shares.append(agreement(alone.found, found, SAME_ANSWER).share)
    return min(shares)


def _largest_batch(endpoint: Endpoint) -> int:
    """The bound of the histogram's last bucket that is larger than the one before; 1 where none is, 0 if not told."""
    try:
        exposition = ask(endpoint, "/metrics").decode()
    except EndpointError:
        return 0  # a proxy keeps them from others
    buckets = [(float(bound), float(count)) for bound, count in _BUCKET.findall(exposition)]
    grown = [bound for (_, before), (bound, count) in pairwise(buckets) if count > before]
    return int(max(grown, default=1))


def _try_shapes(endpoint: Endpoint, subject: Subject) -> dict[tuple[int, int], float]:
    """Compare a few pictures, stretched to each input shape, with the f32 graph's answers; lossless on the way."""
    path = served_path(subject.name)
    shares = {}
    for each in subject.stretched:
        found = {}
        for key, pixels in each.pixels.items():
            data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
            found[key] = read_detections(post_image(endpoint, path, data, f"{key}.png"))
        shares[each.shape_hw] = agreement(each.expected, found, SAME_OBJECT).share
    return shares


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started
