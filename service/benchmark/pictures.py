"""What is posted: pictures from files, or generated ones, in one file that all of k6's clients share.

A service may answer equal bytes from a cache, or infer them once for all who ask. So each request ends in a mark of its
own, which load.js writes into the last bytes: decoders stop at the end of the picture and do not look at it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from service.client.picture import media_type

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MARK_BYTES = 32
# k6 and the page cache hold them all; who has more to show has enough with the first ones.
MOST_BYTES = 256 << 20
GENERATED = 8
QUALITY = 90
# How fast detail fades with its fineness. With this, JPEGs are as large as those of photographs (1.4 bits a pixel).
_FALL = 0.55
_CONTRAST = 90.0


class NoPictures(Exception):
    """A path holds no picture."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files as they are posted. `source` says what they are, for people; `left_out` were too many."""

    files: Sequence[bytes]
    source: str
    left_out: int = 0

    @property
    def mean_bytes(self) -> float:
        """Size of a file on average."""
        return sum(map(len, self.files)) / len(self.files)

    def write(self, path: Path) -> list[tuple[int, int, str]]:
        """Writes one after the other; returns offset, length and media type of each."""
        places, offset = [], 0
        with path.open("wb") as file:
            for data in self.files:
                places.append((offset, len(data), media_type(data)))
                offset += file.write(data)
        return places


def read_pictures(paths: Sequence[Path], *, most_bytes: int = MOST_BYTES) -> Pictures:
    """Files, and those in folders whose names end as pictures' do. Raises NoPictures and OSError."""
    found = list(_listed(paths))
    files: list[bytes] = []
    room = most_bytes
    for path in found:
        data = path.read_bytes()
        if not data:
            raise NoPictures(f"{path} is empty")
        room -= len(data)
        if room < 0 and files:
            break
        files.append(data)
    return Pictures(files, ", ".join(map(str, paths)), len(found) - len(files))


def generate_pictures(size_wh: tuple[int, int], count: int = GENERATED) -> Pictures:
    """JPEGs (4:2:0, quality 90) of clouds of colour, which fade with fineness as photographs do: they decode alike."""
    width, height = size_wh
    files = [
        bytes(simplejpeg.encode_jpeg(_clouds(seed, (height, width)), QUALITY, "RGB", "420")) for seed in range(count)
    ]
    return Pictures(files, f"{count} generated, {width}x{height}")


def _listed(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise NoPictures(f"{path}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
        yield from inside


def _clouds(seed: int, shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: grids of random colour, each twice as fine as the one before and fainter, laid over each other."""
    draw = np.random.default_rng(seed)
    height, width = shape_hw
    canvas = np.full((height, width, 3), 128, np.float32)
    cells = 2
    while cells < max(shape_hw):
        rows, columns = (max(2, cells * side // max(shape_hw)) for side in shape_hw)
        grid = draw.standard_normal((rows, columns, 3), np.float32)
        # Most of what changes in a photograph is its brightness.
        grid = 0.75 * grid[..., :1] + 0.4 * grid
        canvas += _CONTRAST * cells**-_FALL * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells *= 2
    return np.clip(canvas, 0, 255).astype(np.uint8)
