"""The two tiers as one: memory first, then what the replicas share. Knows neither of them from within."""

from service.cache.entry import CachedImage
from service.cache.memory import MemoryTier
from service.cache.shared import RedisTier
from service.metrics import Metrics


class CandidateCache:
    """Either tier may be absent, or both: then every look-up is a miss."""

    def __init__(self, memory: MemoryTier | None, shared: RedisTier | None, *, metrics: Metrics) -> None:
        self._memory = memory
        self._shared = shared
        self._metrics = metrics

    @property
    def is_shared(self) -> bool:
        """Whether `lookup_shared` could find anything."""
        return self._shared is not None

    def lookup_memory(self, key: bytes) -> CachedImage | None:
        """At once. A hit is counted; a miss is not, since the look-up is not over."""
        entry = None if self._memory is None else self._memory.get(key)
        if entry is not None:
            self._metrics.cache.labels("hit_memory").inc()
        return entry

    async def lookup_shared(self, key: bytes) -> CachedImage | None:
        """Within the shared tier's budget; a hit is kept in memory as well. How it ended is counted.

        Without a shared tier it is a miss at once.
        """
        if self._shared is None:
            self._metrics.cache.labels("miss").inc()
            return None
        entry = await self._shared.get(key)
        if entry is not None and self._memory is not None:
            self._memory.put(key, entry)
        return entry

    def put(self, key: bytes, entry: CachedImage) -> None:
        """Keeps it in memory now and has it written to the shared tier. Waits for nothing, never raises."""
        if self._memory is not None:
            self._memory.put(key, entry)
        if self._shared is not None:
            self._shared.put(key, entry)

    async def aclose(self) -> None:
        """Ends what is under way in the shared tier. Redis's client is closed by whoever opened it, after this."""
        if self._shared is not None:
            await self._shared.aclose()
