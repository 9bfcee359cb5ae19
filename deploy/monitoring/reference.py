"""Writes reference.json for a model: what it sees in data that it was made for, against which drift is told.

    .venv/bin/python deploy/monitoring/reference.py http://127.0.0.1:8000 DATA/val.json model_repository/vehicles/1

DATA has `images/` beside the annotations, of which only the names of the pictures are used. The service is asked as
clients ask it, and must have the version of that folder loaded.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from service.client import Client, Result
from service.detector.sightings import LEAST_SCORE
from service.models.reference import NAME


def reference(results: Iterator[Result], data: str) -> dict[str, Any]:
    """Of all objects that score enough: each class's part, the mean score, and the mean size."""
    classes: Counter[str] = Counter()
    scores: list[float] = []
    sizes: list[float] = []
    images = 0
    for result in results:
        images += 1
        boxes = np.asarray(result.detections.boxes, np.float64).reshape(-1, 4)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        sizes += np.sqrt(areas / (result.image_hw[0] * result.image_hw[1])).tolist()
        scores += result.detections.scores.tolist()
        classes.update(result.detections.labels)
    if not scores:
        raise SystemExit(f"the model finds nothing in {data}")
    parts = {name: round(count / len(scores), 4) for name, count in sorted(classes.items())}
    told = {"data": data, "images": images, "objects": len(scores)}
    return {
        **told,
        "score": round(float(np.mean(scores)), 4),
        "size": round(float(np.mean(sizes)), 4),
        "classes": parts,
    }


def main() -> None:
    """Ask for every picture, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("annotations", type=Path, help="COCO format")
    parser.add_argument("folder", type=Path, help="of the model's version")
    parser.add_argument("--data", help="what the file calls the data (default: the annotations' name)")
    arguments = parser.parse_args()
    name, version = arguments.folder.resolve().parts[-2:]
    images = json.loads(arguments.annotations.read_text())["images"]
    with Client(arguments.url, key=os.environ.get("YOLOV7_KEY")) as client:
        paths = (arguments.annotations.parent / "images" / image["file_name"] for image in images)
        results = (client.detect(path, model=name, version=version, confidence=LEAST_SCORE) for path in paths)
        told = reference(results, arguments.data or arguments.annotations.name)
    path = arguments.folder / NAME
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(path, told)


if __name__ == "__main__":
    main()
