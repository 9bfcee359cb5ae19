"""Decoded images on disk: what memory does not hold, and what the next run need not decode again.

One ``.npy`` for each image at its training size, named by a hash of path, size, time of change and training size, so
that a changed image or another size is another file. It is written beside its place and renamed, so that any number of
processes may fill and read one folder: none sees half a file, and two that write the same file write the same bytes.
"""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_EDITION = b"1"  # of how images are decoded and scaled; another edition is another file


class DiskCache:
    """A folder for at most ``budget`` bytes of decoded images."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.budget = budget
        self._folder = folder
        self._writes = True
        folder.mkdir(parents=True, exist_ok=True)

    def place(self, image: Path, size: int) -> Path:
        """Where the decoded image lies, if it does."""
        found = image.stat()
        parts = str(image.resolve()), str(found.st_size), str(found.st_mtime_ns), str(size)
        name = hashlib.blake2b("\0".join(parts).encode() + _EDITION, digest_size=16).hexdigest()
        return self._folder / f"{name}.npy"

    def make_room(self, wanted: frozenset[Path], size: int) -> None:
        """Delete other files, the longest unused first, until ``size`` bytes for the wanted ones fit the budget.

        A process that reads a deleted file keeps what it has mapped, and decodes the image again afterwards.
        """
        others = []
        for path in self._folder.glob("*.*"):
            if path not in wanted:
                with contextlib.suppress(FileNotFoundError):  # another process made room
                    found = path.stat()
                    others.append((max(found.st_atime, found.st_mtime), found.st_size, path))
        excess = size + sum(length for _, length, _ in others) - self.budget
        for _, length, path in sorted(others):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= length

    def load(self, place: Path, decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the image mapped from its file, which is written first where it is missing or damaged."""
        try:
            return np.asarray(np.load(place, mmap_mode="r"), np.uint8)
        except (OSError, ValueError, EOFError):
            pixels = decode()
        if self._writes:
            self._write(place, pixels)
        return pixels

    def _write(self, place: Path, pixels: NDArray[np.uint8]) -> None:
        # A name of its own, since the folder may be shared by machines.
        beside = None
        try:
            with NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
                beside = Path(file.name)
                np.save(file, pixels)
            beside.replace(place)
        except OSError as exc:
            self._writes = False  # a full disk is no reason to stop training
            logger.warning("the disk cache takes no more images: %s", exc)
            if beside is not None:
                beside.unlink(missing_ok=True)
