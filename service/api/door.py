"""Who may come in over HTTP: the key is read, its right demanded and its rate taken before a body is.

What keys and rates are is service.access's business.
"""

from starlette.requests import HTTPConnection, Request

from service.access import Client, Keys, Rates, Tickets, presented_token
from service.api.exchange import Exchange
from service.errors import Forbidden, RateLimited, Unauthenticated
from service.metrics import Metrics


class Door:
    """Lets a request in, or raises Unauthenticated, Forbidden or RateLimited."""

    def __init__(self, keys: Keys, rates: Rates, *, metrics: Metrics) -> None:
        self._keys = keys
        self._tickets = Tickets(keys)
        self._rates = rates
        self._metrics = metrics

    def awaits_key(self, request: Request) -> bool:
        """Whether a key is needed that the headers do not bring; in some protocols it is in the body."""
        try:
            return self._keys.required and _presented(request) is None
        except Unauthenticated:  # brought, but malformed: for `detect` to say
            return False

    async def detect(self, request: Request, *, token: str | None = None) -> None:
        """For a detection: needs the right `detect` and takes one from the client's rate.

        `token`: a key from elsewhere than the headers, whose own goes first.
        """
        client = self._identify(request, token)
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

    def ticket(self, request: Request) -> str:
        """A ticket for who may detect. It takes nothing from the rate: each frame of the stream does."""
        client = self._identify(request)
        self._demand(client, admin=False)
        return self._tickets.issue(client)

    def stream(self, connection: HTTPConnection) -> Client:
        """For a stream of frames: needs the right `detect`, by a key in the headers or by a ticket in the query."""
        client = self._identify(connection, ticket=connection.query_params.get("ticket"))
        self._demand(client, admin=False)
        return client

    def admin(self, request: Request) -> None:
        """For a change of the models: needs the right `admin`, which nobody has without a key."""
        self._demand(self._identify(request), admin=True)

    def _identify(self, request: HTTPConnection, token: str | None = None, ticket: str | None = None) -> Client:
        try:
            presented = _presented(request) or token
            if presented is None and ticket is not None:
                client = self._tickets.redeem(ticket)
            else:
                client = self._keys.authenticate(presented)
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


def _presented(request: HTTPConnection) -> str | None:
    return presented_token(request.headers.get("authorization"), request.headers.get("x-api-key"))
