"""How long one image takes on this machine, stage by stage, alone and one after the other.

What a user waits for in this process: no service, no batching, no network between. The service's own figures are those
of ``bench``.
"""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import PostprocessOptions, postprocess
from training.data import CocoDataset
from training.data.source import MAX_PIXELS
from training.evaluate.served import Infer

STAGES = ("decode", "letterbox", "network", "postprocess")
_IMAGES, _WARM = 30, 3

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of each stage and of the whole, by name: median and 95th percentile over ``images`` images."""

    median_ms: dict[str, float]
    p95_ms: dict[str, float]
    images: int
    machine: str


def measure_latency(
    infer: Infer, dataset: CocoDataset, shapes_hw: Sequence[tuple[int, int]], device: torch.device
) -> Latency:
    """Time the first images of a set, by the options a request has if it asks for none."""
    images = dataset.images[:_IMAGES]
    rows = [_time(infer, image.path, shapes_hw) for image in (*images[:_WARM], *images)][min(_WARM, len(images)) :]
    table = 1000 * np.array([[*row, sum(row)] for row in rows])
    names = (*STAGES, "whole")
    median, p95 = np.median(table, axis=0).tolist(), np.percentile(table, 95, axis=0).tolist()
    return Latency(
        dict(zip(names, median, strict=True)), dict(zip(names, p95, strict=True)), len(rows), describe_machine(device)
    )


def _time(infer: Infer, path: Path, shapes_hw: Sequence[tuple[int, int]]) -> list[float]:
    seconds: list[float] = []

    def timed(stage: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = stage()
        seconds.append(time.perf_counter() - started)
        return result

    data = path.read_bytes()
    pixels = timed(lambda: decode(data, max_pixels=MAX_PIXELS))
    image_hw = pixels.shape[0], pixels.shape[1]
    letterbox = Letterbox.fit(image_hw, choose_shape(image_hw, shapes_hw))
    batch = timed(lambda: letterbox.apply(pixels)[None])
    candidates = timed(lambda: infer(batch))
    timed(lambda: postprocess(candidates[0], letterbox, PostprocessOptions()))
    return seconds


def describe_machine(device: torch.device) -> str:
    """The processor that computes, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} at work"


def cpu_name() -> str:
    """The processor's own name, where the system knows it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or "CPU"
