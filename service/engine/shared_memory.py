"""System shared memory for the images of batches on their way to a Triton server on the same host.

Each slot is one region of /dev/shm and holds one batch. There are never more slots than batches in flight, and each is
as large as the batches that it had to hold: a slot that is too small is replaced under a new name. A server that still
has the old one mapped keeps it until told to forget it, so nothing can be pulled away from under a request.

This module knows no server: whoever sends a slot registers it there by name.
"""

import logging
import os
import secrets
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LEAST_BYTES = 1 << 20
_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


class Slot:
    """One region. Raises OSError where the system has no room for it."""

    def __init__(self, byte_size: int) -> None:
        self._memory = SharedMemory(f"yolov7-{os.getpid()}-{secrets.token_hex(4)}", create=True, size=byte_size)
        self.name = self._memory.name
        self.byte_size = byte_size
        try:
            # Room is taken now: a file system that is full would kill the process at the first write.
            with (_FOLDER / self.name).open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, byte_size)
        except OSError:
            self.close()
            raise

    def write(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Copies the images (H, W, 3), one behind the other, to the region's start."""
        view = np.ndarray((len(images), *images[0].shape), np.uint8, self._memory.buf)
        for place, image in zip(view, images, strict=True):
            place[...] = image

    def close(self) -> None:
        """Gives the memory back, once no server has it mapped any more."""
        self._memory.close()
        self._memory.unlink()


class Slots:
    """At most `most` at once. `retired` holds the names of regions that were replaced, for servers to forget."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[Slot] = []
        self._taken = 0
        self._usable = True
        self.retired: set[str] = set()

    def take(self, byte_size: int) -> Slot | None:
        """A slot with room for so many bytes; None where there is none: the images go by gRPC then."""
        if not self._usable or self._taken >= self._most:
            return None
        self._idle.sort(key=lambda slot: slot.byte_size)
        fitting = next((slot for slot in self._idle if slot.byte_size >= byte_size), None)
        if fitting is not None:
            self._idle.remove(fitting)
        else:
            if self._taken + len(self._idle) >= self._most:
                self._retire(self._idle.pop(0))
            fitting = self._create(byte_size)
        if fitting is not None:
            self._taken += 1
        return fitting

    def give_back(self, slot: Slot) -> None:
        """For the next batch."""
        self._taken -= 1
        self._idle.append(slot)

    def close(self) -> None:
        """Gives all memory back; every slot has been given back by then."""
        while self._idle:
            self._retire(self._idle.pop())

    def _create(self, byte_size: int) -> Slot | None:
        try:
            return Slot(max(LEAST_BYTES, 1 << (byte_size - 1).bit_length()))
        except OSError as exc:
            self._usable = False
            logger.warning("no shared memory for images, which go by gRPC from now on: %s", exc.strerror)
            return None

    def _retire(self, slot: Slot) -> None:
        self.retired.add(slot.name)
        slot.close()
