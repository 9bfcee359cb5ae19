"""From the thread that reads frames to the event loop that sends them. Bounded, whichever side is slower.

A camera must be read at its own pace: what is left with it piles up in its buffers and in the network's, and every
frame from then on is late. So of a live source the reader never waits here; a newer frame takes the place of the one
that nobody has fetched. Where every frame counts, the reader waits instead.
"""

import asyncio
import contextlib
import threading
from collections import deque

from service.camera.events import Dropped
from service.camera.shot import Shot

# Frames read ahead where every one counts.
ROOM = 4


class Handover:
    """One reader, one sender. `newest`: newer frames replace older ones. Made on the loop of the sender."""

    def __init__(self, *, newest: bool) -> None:
        self._newest = newest
        self._shots: deque[Shot] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._error: Exception | None = None
        self._replaced: Dropped | None = None
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def put(self, shot: Shot) -> bool:
        """For the reader. Waits for room where every frame counts; False once nobody wants more."""
        with self._changed:
            if self._newest and self._shots:
                self._replace(self._shots.popleft())
            self._changed.wait_for(lambda: self._finished or len(self._shots) < ROOM)
            if self._finished:
                return False
            self._shots.append(shot)
            self._wake()
            return True

    def finish(self, error: Exception | None = None) -> None:
        """No frame comes any more, and `error` is why; those that wait are still fetched. The first word counts."""
        with self._changed:
            if not self._finished:
                self._finished, self._error = True, error
                self._changed.notify_all()
                self._wake()

    async def take(self) -> Shot | None:
        """The next frame; None after the last. Raises the error that the reader ended in."""
        while True:
            with self._changed:
                if self._shots:
                    self._changed.notify_all()
                    return self._shots.popleft()
                if self._finished:
                    if self._error is not None:
                        raise self._error
                    return None
                # Whoever puts from here on tells the loop, and the loop comes to it after this.
                self._arrived.clear()
            await self._arrived.wait()

    def replaced(self) -> Dropped | None:
        """Frames that were replaced here since this was last asked."""
        with self._changed:
            replaced, self._replaced = self._replaced, None
            return replaced

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to fetch, and nothing comes."""
        with self._changed:
            return self._finished and not self._shots

    def _replace(self, shot: Shot) -> None:
        before = self._replaced
        first, count = (before.first, before.count) if before else (shot.sequence, 0)
        self._replaced = Dropped("unsent", first, shot.sequence, count + 1)

    def _wake(self) -> None:
        # A thread that was left behind may outlive the loop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)
