"""Leases among the workers of one host, for want of a Redis: service.cache.RedisLease, kept in files.

A file for each lease says who holds it until when; a lock on the file makes look and change one step. The monotonic
clock is the machine's, so all its processes read the same.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

PATIENCE_S = 0.5
PAUSE_S = 0.005
MOST_BYTES = 200


class FileLease:
    """One holder, which is this object. `folder` exists and is shared by those who are to agree."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._holder = f"{os.getpid()}-{secrets.token_hex(8)}"

    async def hold(self, name: str, seconds: float) -> bool:
        """Takes the lease or renews it, for so long from now; True only for the one holder.

        It ends by itself, or with the holder's process. Half a second at most. False where the file cannot be had:
        then nobody is known to hold it, so nobody should act.
        """
        path = self._folder / f"lease-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    held = self._try(path, seconds)
                    if held is not None:
                        return held
                    # A lock cannot be waited for with a deadline; it is held for microseconds, unless by a process
                    # that was stopped, for which nobody should wait.
                    await asyncio.sleep(PAUSE_S)
        except OSError as exc:  # TimeoutError is one
            logger.warning("no lease on %s, its file cannot be had: %s: %s", name, type(exc).__name__, exc)
            return False

    def _try(self, path: Path, seconds: float) -> bool | None:
        """None: another process looks at the same lease right now."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder, ends_at = _parse(os.pread(descriptor, MOST_BYTES, 0))
            now = self._clock()
            if holder != self._holder and now < ends_at and _lives(holder):
                return False
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{self._holder} {now + seconds}".encode(), 0)
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)
        return True


def _parse(text: bytes) -> tuple[str, float]:
    """Holder and end. Whoever died while it wrote holds nothing."""
    try:
        holder, ends_at = text.decode().split(" ")
        return holder, float(ends_at)
    except ValueError:
        return "", 0.0


def _lives(holder: str) -> bool:
    try:
        os.kill(int(holder.partition("-")[0]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
