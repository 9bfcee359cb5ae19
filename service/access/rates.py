"""How often each client may ask: `limits`' sliding window counter, in Redis where there is one, else in this process.

Why this strategy: two numbers per client, whatever the rate, where a moving window keeps a time for each request; and
Redis's own clock, where a moving window compares times from gateways whose clocks differ. The price: the window before
is taken as evenly filled, so a client that kept its rate for the end of a window may get up to twice its rate by the
end of the next, though never in one burst, as a fixed window would let it.

While Redis is away each process counts for itself, and a client may get its rate from each.
"""

import hashlib
import ipaddress
import time
from collections.abc import Callable

from service.access.allowance import Allowance, take
from service.access.client import Client
from service.access.rate import Rate
from service.access.shared import SharedRates
from service.access.windows import BoundedWindows

# Some 250 bytes each.
CAPACITY = 10_000


class Rates:
    """`default` is for keys that set no rate, `anonymous` for each peer without a key; None lets through freely.

    `shared` counts for several processes together; `aclose` closes it. `capacity` clients with a key and as many peers
    are remembered here, the least recently seen forgotten.
    """

    def __init__(
        self,
        *,
        default: Rate | None = None,
        anonymous: Rate | None = None,
        shared: SharedRates | None = None,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._default = default
        self._anonymous = anonymous
        self._shared = shared
        # Apart, so that a crowd of strangers cannot make us forget how much a key has used.
        self._keyed_here = BoundedWindows(capacity, clock=clock)
        self._peers_here = BoundedWindows(capacity, clock=clock)

    async def start(self) -> None:
        """Connects to Redis, so that the first request need not. Optional, raises nothing, takes about 1 s at most."""
        if self._shared:
            await self._shared.trial()

    async def take(self, client: Client, *, peer: str = "") -> Allowance | None:
        """Counts one request of the client; of `peer`, any text that tells callers apart, where it is anonymous.

        Peers of one IPv6 network of 64 bits are one: that is the least that a customer gets, and all of it is its own.
        None where the client has no rate. Raises RateLimited. Redis makes it wait the budget of `shared` at most.
        """
        rate = self._anonymous if client.anonymous else client.rate or self._default
        if rate is None:
            return None
        identity = f"peer/{_fingerprint(_caller(peer))}" if client.anonymous else f"key/{client.name}"
        if self._shared:
            allowance = await self._shared.take(rate, identity)
            if allowance:
                return allowance
        return await take(self._peers_here if client.anonymous else self._keyed_here, rate, identity)

    async def aclose(self) -> None:
        """Closes the connections to Redis."""
        if self._shared:
            await self._shared.aclose()


def _caller(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 4:
        return str(address)
    # An IPv4 caller at a socket that listens for both.
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _fingerprint(peer: str) -> str:
    # Bounds the text, takes any character, and keeps addresses out of Redis's listings.
    return hashlib.sha256(peer.encode("utf-8", "surrogatepass")).hexdigest()[:32]
