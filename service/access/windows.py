"""Rate windows in this process's memory, counted as `limits` counts sliding windows.

The library's own memory storage forgets nothing by itself: each hit starts a task that walks every counter (0.7 ms
with 10,000 of them), and there is no bound. Here the least recently seen client is forgotten when the room is full,
and a hit looks at one window. The arithmetic is that of the library's Redis script, so both storages count alike: a
window begins at a client's first request, and the window before weighs as much as the share of it that a window
ending now still covers.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from limits.aio.storage import MemoryStorage


@dataclass(frozen=True, slots=True)
class Window:
    """Requests let through until `ends_at`, a reading of the clock in seconds, and in the window before."""

    ends_at: float
    current: int = 0
    previous: int = 0

    def at(self, now: float, length_s: int) -> "Window":
        """The window that `now` is in."""
        if now < self.ends_at:
            return self
        if now < self.ends_at + length_s:
            return Window(self.ends_at + length_s, previous=self.current)
        return Window(now + length_s)


class BoundedWindows(MemoryStorage):
    """At most `capacity` clients. Of the library's interface, the two calls of the sliding window counter are ours."""

    def __init__(self, capacity: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._capacity = capacity
        self._clock = clock
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts `amount` requests, or says that they would be too many in `expiry` seconds."""
        now = self._clock()
        window = self._window(key, expiry, now)
        weighted = int(window.previous * (window.ends_at - now) / expiry) + window.current
        admitted = weighted + amount <= limit
        if admitted:
            window = replace(window, current=window.current + amount)
        self._windows[key] = window
        self._windows.move_to_end(key)  # who is refused is remembered as well
        if len(self._windows) > self._capacity:
            self._windows.popitem(last=False)
        return admitted

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Previous count, seconds until it weighs nothing, current count, seconds until that one weighs nothing."""
        now = self._clock()
        window = self._window(key, expiry, now)
        left_s = window.ends_at - now
        return window.previous, left_s, window.current, left_s + expiry

    def _window(self, key: str, length_s: int, now: float) -> Window:
        window = self._windows.get(key)
        return window.at(now, length_s) if window else Window(now + length_s)
