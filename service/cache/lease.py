"""Leases in Redis: of many gateways, the one that may do a thing that needs doing once. Knows nothing of the thing."""

import asyncio
import logging
import secrets

from redis.asyncio import Redis

logger = logging.getLogger(__name__)

PREFIX = "yolov7:lease:"
PATIENCE_S = 0.5
# One step in Redis: between a look and a renewal of ours, another could have become the holder.
HOLD = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""


class RedisLease:
    """One holder, which is this object: asked by several tasks, it tells all of them that it holds.

    `client` is its caller's to close.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._token = secrets.token_hex(16)

    async def hold(self, name: str, seconds: float) -> bool:
        """Takes the lease or renews it, for so long from now; True only for the one holder. It ends by itself.

        Half a second at most. False where Redis is away: then nobody is known to hold it, so nobody should act.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                held: int = await self._client.eval(HOLD, 1, PREFIX + name, self._token, round(seconds * 1000))
        except Exception as exc:  # noqa: BLE001 - whatever a client library throws, the lease is not known to be held
            logger.warning("no lease on %s, Redis cannot be asked: %s: %s", name, type(exc).__name__, exc)
            return False
        return bool(held)
