"""Tickets: a key's stand-in for a few seconds, for who cannot send a header, such as a page that opens a WebSocket.

    <name of the key>~<expiry, seconds since 1970>~<nonce>~<HMAC-SHA256 of the three, keyed with the token's digest>

Nothing is remembered, so every process with the same keys file takes the ticket of any other, as often as it comes
until it expires. Who can read the keys file could write tickets; the tokens themselves stay unknown to him.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from service.access.client import ANONYMOUS, Client
from service.access.keys import Keys
from service.errors import Unauthenticated

LIFETIME_S = 30
# Keeps what is signed here apart from whatever else may be keyed with a digest one day.
PURPOSE = b"yolov7-service ticket\n"
TICKET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})~([0-9]{1,15})~([A-Za-z0-9_-]{16,64})~([0-9a-f]{64})")
HINT = "get one by POST /v1/stream/ticket"


class Tickets:
    """Issued to clients of `keys`. `clock` tells seconds since 1970, since others than this process read them."""

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def issue(self, client: Client) -> str:
        """A ticket for a client that was just authenticated; good for LIFETIME_S. Raises Unauthenticated."""
        digest = self._digest(client.name)
        if digest is None:
            raise Unauthenticated("the key is not known")
        signed = f"{client.name}~{int(self._clock()) + LIFETIME_S}~{secrets.token_urlsafe(16)}"
        return f"{signed}~{_sign(digest, signed)}"

    def redeem(self, ticket: str) -> Client:
        """Whose ticket it is. Any text may be asked for; raises Unauthenticated, which never repeats it.

        How long that takes says nothing of which keys there are.
        """
        if not self._keys.required:
            return ANONYMOUS
        parts = TICKET.fullmatch(ticket)
        if parts is None:
            raise Unauthenticated(f"the ticket is malformed; {HINT}")
        name, expiry, _, signature = parts.groups()
        client = self._keys.find(name)
        expected = _sign(client.digest if client else bytes(32), ticket.rpartition("~")[0])
        genuine = hmac.compare_digest(expected, signature)
        if client is None or not genuine:
            raise Unauthenticated(f"the ticket is not valid; {HINT}")
        if self._clock() >= int(expiry):
            raise Unauthenticated(f"the ticket has expired; {HINT}")
        return client

    def _digest(self, name: str) -> bytes | None:
        if not self._keys.required:
            # It is asked of nobody.
            return bytes(32)
        client = self._keys.find(name)
        return client.digest if client else None


def _sign(digest: bytes, signed: str) -> str:
    return hmac.new(digest, PURPOSE + signed.encode(), hashlib.sha256).hexdigest()
