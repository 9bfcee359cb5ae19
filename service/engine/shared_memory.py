"""System shared memory for the images of batches on their way to a Triton server on the same host.

Each slot is one region of /dev/shm and holds one batch. There are never more slots than batches in flight, and each is
as large as the batches that it had to hold: a slot that is too small is replaced under a new name. A server that still
has the old one mapped keeps it until told to forget it, so nothing can be pulled away from under a request.

A process that is killed leaves its regions behind. Each region's file is locked as long as its process lives, so that
the next one to start can tell; process ids say nothing where containers share the memory and each counts its own.

This module knows no server: whoever sends a slot registers it there by name.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LEAST_BYTES = 1 << 20
# How long none is created after there was no room for one: what took it may be gone by then.
RETRY_S = 30.0
_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
# Of its own: a tritonserver on this host keeps its segments in the same folder, and they hold no locks.
_PREFIX = "yolov7-gateway"


class Slot:
    """One region. Raises OSError where the system has no room for it."""

    def __init__(self, byte_size: int) -> None:
        self._memory = SharedMemory(f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}", create=True, size=byte_size)
        self.name = self._memory.name
        self.byte_size = byte_size
        self._file = -1
        try:
            self._file = os.open(_FOLDER / self.name, os.O_RDWR)
            # Fails only where another process takes it for a dead one's at this very moment.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Room is taken now: a file system that is full would kill the process at the first write.
            os.posix_fallocate(self._file, 0, byte_size)
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
        with contextlib.suppress(FileNotFoundError):
            self._memory.unlink()
        if self._file >= 0:
            os.close(self._file)


class Slots:
    """At most `most` at once. `retired` holds the names of regions that were replaced, for servers to forget."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._idle: list[Slot] = []
        self._taken = 0
        self._no_room_until = float("-inf")
        self.retired: set[str] = set()

    def take(self, byte_size: int) -> Slot | None:
        """A slot with room for so many bytes; None where there is none: the images go by gRPC then."""
        if self._taken >= self._most:
            return None
        self._idle.sort(key=lambda slot: slot.byte_size)
        fitting = next((slot for slot in self._idle if slot.byte_size >= byte_size), None)
        if fitting is not None:
            self._idle.remove(fitting)
        elif self._clock() < self._no_room_until:
            return None
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
            self._no_room_until = self._clock() + RETRY_S
            logger.warning("no shared memory for images, which go by gRPC for %.0f s: %s", RETRY_S, exc.strerror)
            return None

    def _retire(self, slot: Slot) -> None:
        self.retired.add(slot.name)
        slot.close()


def sweep() -> None:
    """Gives back what processes that were killed have left."""
    for region in _FOLDER.glob(f"{_PREFIX}-*-*"):
        try:
            file = os.open(region, os.O_RDWR)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            region.unlink(missing_ok=True)
            logger.info("shared memory %s was left behind by a process that is no more", region.name)
        except OSError:
            pass  # its process lives
        finally:
            os.close(file)
