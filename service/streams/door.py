"""Who may come in over gRPC: the key is read from the metadata, its right demanded and its rate taken.

What keys and rates are is service.access's business.
"""

from service.access import Client, Keys, Rates, presented_token
from service.errors import Forbidden, RateLimited, Unauthenticated
from service.metrics import Metrics
from service.streams.call import Call


class Door:
    """Lets a call in, or raises Unauthenticated, Forbidden or RateLimited."""

    def __init__(self, keys: Keys, rates: Rates, *, metrics: Metrics) -> None:
        self._keys = keys
        self._rates = rates
        self._metrics = metrics

    def enter(self, call: Call) -> Client:
        """Who calls, once it is known to have the right `detect`."""
        try:
            token = presented_token(call.first("authorization"), call.first("x-api-key"))
            client = self._keys.authenticate(token)
        except Unauthenticated:
            self._metrics.rejected.labels("unauthenticated").inc()
            raise
        call.client = client.name
        try:
            client.demand("detect")
        except Forbidden:
            self._metrics.rejected.labels("forbidden").inc()
            raise
        return client

    async def take(self, call: Call, client: Client) -> None:
        """Takes one request from the client's rate."""
        try:
            await self._rates.take(client, peer=call.peer)
        except RateLimited:
            self._metrics.rejected.labels("rate").inc()
            raise
