"""What an engine sees in a set by the options of a request that names none: what drift is told against later."""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import numpy as np

from service.vision.detections import Detections
from service.vision.passport import Seen
from training.data import CocoDataset, DatasetImage
from training.evaluate import Endpoint
from training.evaluate.endpoint import post_image, read_detections
from training.export.gate.subject import FLOOR

BINS = 15
_CLIENTS = 4


def see(endpoint: Endpoint, model: str, dataset: CocoDataset, data: str) -> Seen:
    """Ask the service for every picture of ``dataset``, which is called ``data``. Raises EndpointError."""
    path = f"/v1/detect?{urlencode({'model': model, 'confidence': FLOOR})}"

    def look(image: DatasetImage) -> Detections:
        return read_detections(post_image(endpoint, path, image.path.read_bytes(), image.path.name))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        return summarise(dataset, zip(dataset.images, pool.map(look, dataset.images), strict=True), data)


def summarise(dataset: CocoDataset, answers: Iterable[tuple[DatasetImage, Detections]], data: str) -> Seen:
    """Count and average what was found."""
    classes: Counter[int] = Counter()
    scores: list[float] = []
    sizes: list[float] = []
    for image, found in answers:
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).astype(np.float64)  # (N, 2) width, height
        sizes += np.sqrt(sides.prod(axis=1) / (image.width * image.height)).tolist()
        scores += found.scores.tolist()
        classes.update(found.class_ids.tolist())
    names = dataset.class_names
    return Seen(
        data=data,
        images=len(dataset),
        objects=len(scores),
        score=float(np.mean(scores)) if scores else 0.0,
        size=float(np.mean(sizes)) if sizes else 0.0,
        classes={names[index]: count / len(scores) for index, count in sorted(classes.items())},
        scores=tuple(np.histogram(scores, BINS, (FLOOR, 1))[0].tolist()),
    )


def reference_text(seen: Seen) -> str:
    """Return reference.json, by which the service shows beside what it sees what it is expected to see."""
    keys = ("data", "images", "objects", "score", "size", "classes")
    return json.dumps({key: getattr(seen, key) for key in keys}, indent=2, ensure_ascii=False) + "\n"
