"""The tier in this process's memory: bounded in bytes, the longest unused goes first, and nothing outlives its time."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.cache.entry import CachedImage
from service.metrics import Metrics

# A key, the value below and a place in the dictionary, as tracemalloc counts them in CPython 3.11.
PLACE_BYTES = 250


@dataclass(frozen=True, slots=True)
class _Kept:
    entry: CachedImage
    size_bytes: int
    expires_at: float


class MemoryTier:
    """Every operation takes the same time, however much is held.

    What has expired is let go when it is asked for or when room is needed. `clock`: seconds that never run backwards.
    """

    def __init__(
        self, capacity_bytes: int, *, ttl_s: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._ttl_s = ttl_s
        self._metrics = metrics
        self._clock = clock
        self._held_bytes = 0
        # The longest unused comes first.
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def held_bytes(self) -> int:
        """What the entries take, objects around their arrays included; never above the capacity."""
        return self._held_bytes

    def get(self, key: bytes) -> CachedImage | None:
        """The entry, unless it has expired."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_at <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.entry

    def put(self, key: bytes, entry: CachedImage) -> None:
        """Keeps it for the time to live from now, in place of what had the key. One that never fits is not kept."""
        if key in self._kept:
            self._drop(key)
        size_bytes = entry.held_bytes + PLACE_BYTES
        if size_bytes > self._capacity_bytes:
            return
        while self._held_bytes + size_bytes > self._capacity_bytes:
            self._drop(next(iter(self._kept)))
        self._kept[key] = _Kept(entry, size_bytes, self._clock() + self._ttl_s)
        self._hold(size_bytes)

    def _drop(self, key: bytes) -> None:
        self._hold(-self._kept.pop(key).size_bytes)

    def _hold(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self._metrics.cache_bytes.set(self._held_bytes)
