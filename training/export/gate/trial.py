"""One engine on trial: what a running service answers with it, against what the parent sees.

    AP          every picture of the set, several at once, by the protocol ``served``
    agreement   the share of boxes that the parent has too
    batches     the same pictures many at once, against one after the other
    shapes      a few pictures stretched to each input shape, against ONNX Runtime in float32
    latency     one picture alone, and eight that come at once

It knows a URL, and neither files nor what started the service.
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
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import CocoDataset, read_pixels
from training.evaluate import Evaluation, Infer, detect_endpoint, score
from training.evaluate.endpoint import ask, ask_object, post_image, read_detections, served_path
from training.evaluate.progress import shown
from training.export.gate.agreement import Alike, agreement
from training.export.session import ExportError

FLOOR = 0.25  # what a request that names no confidence is answered
SAME_OBJECT = Alike(iou=0.8, score=0.1, floor=FLOOR)
# Of a batch: the same kernels on the same numbers, in another order of summation at most.
SAME_ANSWER = Alike(iou=0.95, score=0.02, floor=0.05)
PICTURES = 16
AT_ONCE = 8
ROUNDS = 3
SHAPE_PICTURES = 8
_BUCKET = re.compile(r'^yolov7_batch_size_bucket\{.*?le="([0-9.]+)".*?\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found. precision: what the service says it computes in; file: the engine file, if it is known.

    alike: the share of boxes that the parent has too. together: the same of pictures in a batch and alone; largest
    batch: how many of them the service joined at most. shapes: the share for each input shape (H, W) that pictures can
    get; NaN where there is no box. All shares are of 1.
    """

    file: str
    precision: str
    engine: str
    device: str
    evaluation: Evaluation
    detections: Mapping[int, Detections] = field(repr=False)
    alike: float
    together: float
    largest_batch: int
    shapes: Mapping[tuple[int, int], float]
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is tried: the model, by name; the set; the f32 graph's function; what the parent found, by image id."""

    name: str
    shapes_hw: tuple[tuple[int, int], ...]
    dataset: CocoDataset
    infer: Infer
    parent: Mapping[int, Detections] | None


@dataclass(frozen=True, slots=True)
class _Alone:
    """The first pictures, each asked for when the service had nothing else to do."""

    files: tuple[tuple[str, bytes], ...]
    found: Mapping[int, Detections]
    latency_ms: float


def try_engine(url: str, file: str, subject: Subject) -> Trial:
    """Ask the service at ``url`` everything but batches of more than one. Raises EndpointError, ExportError."""
    about = describe(url, subject.name)
    alone = _ask_alone(url, subject)
    latency = {"1": alone.latency_ms, str(AT_ONCE): _ask_at_once(url, subject.name, alone)}
    dataset = subject.dataset
    title = f"{subject.name} {about['precision']}"
    found = dict(shown(detect_endpoint(url, subject.name, dataset), len(dataset), title))
    parent = found if subject.parent is None else subject.parent
    return Trial(
        file=file,
        precision=about["precision"],
        engine=about["engine"],
        device=about["device"],
        evaluation=score(dataset, found.items()),
        detections=found,
        alike=agreement(parent, found, SAME_OBJECT),
        together=_together(url, subject, alone),
        largest_batch=_largest_batch(url),
        shapes=_try_shapes(url, subject),
        latency_ms={name: round(value, 2) for name, value in latency.items()},
    )


def try_batches(url: str, subject: Subject, trial: Trial) -> tuple[float, int]:
    """Return ``together`` and ``largest_batch`` of a service that joins pictures, against one that does not."""
    describe(url, subject.name)
    alone = _ask_alone(url, subject)
    before = {image.id: trial.detections[image.id] for image in subject.dataset.images[:PICTURES]}
    shares = [agreement(before, alone.found, SAME_ANSWER), _together(url, subject, alone)]
    return min(shares), _largest_batch(url)


def describe(url: str, name: str) -> dict[str, Any]:
    """Return what the service says of the model. Raises ExportError where it takes no requests for it."""
    about = ask_object(url, f"/v1/models/{name}")
    if not about["ready"]:
        raise ExportError(f"{name}/{about['version']} is not ready: {about['reason']}")
    return about


def _ask_alone(url: str, subject: Subject) -> _Alone:
    path = served_path(subject.name)
    images = subject.dataset.images[:PICTURES]
    files = tuple((image.path.name, image.path.read_bytes()) for image in images)
    post_image(url, path, files[0][1], files[0][0])  # the first request of all pays for what is done once
    found, took = {}, []
    for image, (name, data) in zip(images, files, strict=True):
        answer, seconds = _timed(lambda name=name, data=data: post_image(url, path, data, name))  # type: ignore[misc]
        found[image.id] = read_detections(answer)
        took.append(seconds)
    return _Alone(files, found, 1000 * statistics.median(took))


def _ask_at_once(url: str, model: str, alone: _Alone) -> float:
    """Milliseconds until eight pictures that come at once are answered; the median of a few times."""
    path = served_path(model)
    files = [alone.files[index % len(alone.files)] for index in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def burst() -> list[dict[str, Any]]:
            return list(pool.map(lambda file: post_image(url, path, file[1], file[0]), files))

        return 1000 * statistics.median(_timed(burst)[1] for _ in range(ROUNDS))


def _together(url: str, subject: Subject, alone: _Alone) -> float:
    """The share of boxes that pictures have alone and at once."""
    path = served_path(subject.name)
    shares = []
    with ThreadPoolExecutor(PICTURES) as pool:
        for _ in range(ROUNDS):
            answers = pool.map(lambda file: read_detections(post_image(url, path, file[1], file[0])), alone.files)
            shares.append(agreement(alone.found, dict(zip(alone.found, answers, strict=True)), SAME_ANSWER))
    return min(shares)


def _largest_batch(url: str) -> int:
    """The bound of the histogram's last bucket that is larger than the one before; 1 where none is."""
    buckets = [(float(bound), float(count)) for bound, count in _BUCKET.findall(ask(url, "/metrics").decode())]
    grown = [bound for (_, before), (bound, count) in pairwise(buckets) if count > before]
    return int(max(grown, default=1))


def _try_shapes(url: str, subject: Subject) -> dict[tuple[int, int], float]:
    """Compare a few pictures of the set, stretched to each input shape, with ONNX Runtime; lossless on the way."""
    path = served_path(subject.name)
    shares = {}
    for shape_hw in subject.shapes_hw:
        if choose_shape(shape_hw, subject.shapes_hw) != shape_hw:
            continue  # a roomier shape is always preferred: no picture gets this one
        ours, theirs = {}, {}
        for image in subject.dataset.images[:SHAPE_PICTURES]:
            pixels = cv2.resize(read_pixels(image), shape_hw[::-1]).astype(np.uint8, copy=False)
            letterbox = Letterbox.fit(shape_hw, shape_hw)
            candidates = subject.infer(letterbox.apply(pixels)[None])[0]
            ours[image.id] = postprocess(candidates, letterbox, SERVED_EVALUATION)
            data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
            theirs[image.id] = read_detections(post_image(url, path, data, f"{image.id}.png"))
        shares[shape_hw] = agreement(ours, theirs, SAME_OBJECT)
    return shares


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started
