"""Speeds that others published, for the table of bench/gpu.py, with what they include as far as it is known.

The paper's frames per second (tables 2 and 9): V100, batch 1, FP16, without TensorRT, on letterboxed images, which
are smaller than the square that stands here. Milliseconds an image in batches of 32: the notes of the reference
implementation, V100. Neither says whether decode and NMS are included. No figure of a T4 with TensorRT is here: none is
at hand of which we know what it includes.
"""

from dataclasses import dataclass

from training.nets import VARIANTS


@dataclass(frozen=True, slots=True)
class Published:
    """Of a variant at its own size, on a V100. batch_32_ms: an image's share. note: what to know of it."""

    fps: float | None
    batch_32_ms: float | None
    note: str = ""


PAPER = {
    "tiny": Published(286, 0.4, "286 is tiny-silu's, the same graph; the size of 0.4 ms is not stated"),
    "tiny-silu": Published(286, None),
    "v7": Published(161, 2.8),
    "x": Published(114, 4.3),
    "w6": Published(84, 7.6),
    "e6": Published(56, 12.3),
    "d6": Published(44, 15.0),
    "e6e": Published(36, 18.7),
}


def paper_fps(variant: str, shape_hw: tuple[int, int], batch: int) -> float | None:
    """Images a second on a V100, where the paper or the reference says so of this size and batch."""
    side = VARIANTS[variant].image_size
    published = PAPER[variant]
    if shape_hw != (side, side):
        return None
    if batch == 1:
        return published.fps
    return 1e3 / published.batch_32_ms if batch == 32 and published.batch_32_ms else None
