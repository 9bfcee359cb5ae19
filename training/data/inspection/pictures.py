"""Every image of a part opened once: does it decode, is it as large as annotated, and what it is recognised by."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from service.vision.image import ImageError, decode
from training.data.inspection.finding import Finding
from training.data.inspection.objects import Objects
from training.data.source import MAX_PIXELS

THUMBNAIL = 16
_CELLS = 8  # differences along each axis: 2 × 64 bits


@dataclass(frozen=True, slots=True)
class Pictures:
    """What images are recognised by, for the I images that decode.

    paths, parts: (I,). digests: of the files. hashes: (I, 2) uint64, which cells are brighter than the next, to
    the right and below. thumbnails: (I, 256) uint8, the grey picture at 16×16.
    """

    paths: tuple[Path, ...]
    parts: tuple[str, ...]
    digests: tuple[bytes, ...]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]


def look(parts: list[Objects]) -> tuple[Pictures, list[Finding]]:
    """Open every image of all parts."""
    findings: list[Finding] = []
    seen: list[tuple[Path, str, _Seen]] = []
    console = Console(stderr=True)
    for objects in parts:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            sizes = [(int(w), int(h)) for w, h in objects.sizes_wh]
            opened = threads.map(_open, objects.paths, sizes, repeat(objects.part))
            title, total = f"images of {objects.part}", len(sizes)
            for path, found in zip(
                objects.paths, track(opened, title, total, transient=True, console=console), strict=True
            ):
                if isinstance(found, Finding):
                    findings.append(found)
                else:
                    seen.append((path, objects.part, found))
    pictures = Pictures(
        paths=tuple(path for path, _, _ in seen),
        parts=tuple(part for _, part, _ in seen),
        digests=tuple(one.digest for _, _, one in seen),
        hashes=np.array([one.hashes for _, _, one in seen], np.uint64).reshape(-1, 2),
        thumbnails=np.array([one.thumbnail for _, _, one in seen], np.uint8).reshape(-1, THUMBNAIL**2),
    )
    return pictures, findings


@dataclass(frozen=True, slots=True)
class _Seen:
    digest: bytes
    hashes: tuple[int, int]
    thumbnail: NDArray[np.uint8]


def _open(path: Path, size_wh: tuple[int, int], part: str) -> _Seen | Finding:
    try:
        data = path.read_bytes()
        pixels = decode(data, max_pixels=MAX_PIXELS)
    except OSError as exc:
        return Finding("unreadable image", part, f"{exc.strerror}", path)
    except ImageError as exc:
        return Finding("unreadable image", part, str(exc), path)
    height, width = pixels.shape[:2]
    if (width, height) != size_wh:
        text = f"{width}x{height} pixels upright, annotated as {size_wh[0]}x{size_wh[1]}"
        return Finding("wrong size", part, text, path)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return _Seen(digest, difference_hashes(np.asarray(grey, np.uint8)), np.asarray(thumbnail, np.uint8).reshape(-1))


def difference_hashes(grey: NDArray[np.uint8]) -> tuple[int, int]:
    """Return 64 bits each for rightwards and downwards: whether a cell is brighter than the next. grey: (H, W)."""
    wide = cv2.resize(grey, (_CELLS + 1, _CELLS), interpolation=cv2.INTER_AREA)
    tall = cv2.resize(grey, (_CELLS, _CELLS + 1), interpolation=cv2.INTER_AREA)
    bits = wide[:, :-1] > wide[:, 1:], tall[:-1] > tall[1:]
    across, down = (int.from_bytes(np.packbits(some).tobytes(), "big") for some in bits)
    return across, down
