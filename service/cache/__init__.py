"""Pictures that were seen before: from the bytes of an image to the network's candidates for it. Knows no engine."""

from service.cache.cache import CandidateCache
from service.cache.connection import connect
from service.cache.entry import CachedImage
from service.cache.key import CacheKeys
from service.cache.lease import RedisLease
from service.cache.memory import MemoryTier
from service.cache.shared import RedisTier

__all__ = ["CacheKeys", "CachedImage", "CandidateCache", "MemoryTier", "RedisLease", "RedisTier", "connect"]
