"""Who may come in over HTTP: the key is read, its right demanded and its rate taken before a body is.

What keys and rates are is service.access's business.
"""

from starlette.requests import Request

from service.access import Client, Keys, Rates, presented_token
from service.api.exchange import Exchange
from service.errors import Forbidden, RateLimited, Unauthenticated
from service.metrics import Metrics


class Door:
    """Lets a request in, or raises Unauthenticated, Forbidden or RateLimited."""

    def __init__(self, keys: Keys, rates: Rates, *, metrics: Metrics) -> None:
        self._keys = keys
        self._rates = rates
        self._metrics = metrics

    async def detect(self, request: Request) -> None:
        """For a detection: needs the right `detect` and takes one from the client's rate."""
        client = self._identify(request)
        self._demand(client, admin=False)
        peer = request.client.host if request.client else ""
        try:
            allowance = await self._rates.take(client, peer=peer)
        except RateLimited:
            self._metrics.rejected.labels("rate").inc()
            raise
        if allowance is not None:
            headers = Exchange.of(request).headers
            headers["RateLimit-Limit"] = str(allowance.limit)
            headers["RateLimit-Remaining"] = str(allowance.remaining)
            headers["RateLimit-Reset"] = str(allowance.reset_s)
            headers["RateLimit-Policy"] = f"{allowance.limit};w={allowance.window_s}"

    def admin(self, request: Request) -> None:
        """For a change of the models: needs the right `admin`, which nobody has without a key."""
        self._demand(self._identify(request), admin=True)

    def _identify(self, request: Request) -> Client:
        headers = request.headers
        try:
            client = self._keys.authenticate(presented_token(headers.get("authorization"), headers.get("x-api-key")))
        except Unauthenticated:
            self._metrics.rejected.labels("unauthenticated").inc()
            raise
        Exchange.of(request).client = client.name
        return client

    def _demand(self, client: Client, *, admin: bool) -> None:
        try:
            client.demand("admin" if admin else "detect")
        except Forbidden:
            self._metrics.rejected.labels("forbidden").inc()
            raise
