"""One request against one rate, in whatever storage of `limits` counts sliding windows."""

import math
from dataclasses import dataclass

from limits.aio.storage import SlidingWindowCounterSupport

from service.access.rate import Rate
from service.errors import RateLimited


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client has left after a request: `remaining` of `limit` in `window_s`, and more in `reset_s` seconds."""

    limit: int
    remaining: int
    reset_s: int
    window_s: int


async def take(storage: SlidingWindowCounterSupport, rate: Rate, identity: str) -> Allowance:
    """Counts one request of `identity`. Raises RateLimited, or what the storage raises."""
    key = f"rates/{identity}/{rate.limit}/{rate.window_s}"
    admitted = await storage.acquire_sliding_window_entry(key, rate.limit, rate.window_s)
    allowance = _allowance(rate, *await storage.get_sliding_window(key, rate.window_s))
    if admitted:
        return allowance
    raise RateLimited(
        f"over the rate of {rate}; try again in {allowance.reset_s} s",
        limit=rate.limit,
        window_s=rate.window_s,
        retry_after_s=allowance.reset_s,
    )


def _allowance(rate: Rate, previous: int, previous_s: float, current: int, current_s: float) -> Allowance:
    # The library's own statistics say "now" in a window's first millisecond, when all of it is still to come.
    weight = int(previous * previous_s / rate.window_s)
    one_less_s = previous_s - weight * rate.window_s / previous if weight else current_s - rate.window_s
    return Allowance(rate.limit, max(0, rate.limit - weight - current), max(1, math.ceil(one_less_s)), rate.window_s)
