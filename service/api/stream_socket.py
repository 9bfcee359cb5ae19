"""An ASGI WebSocket as a conversation sees it: messages in, documents out, and an end with a code.

Knows no message's meaning.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Send

from service.api.answer import to_json
from service.errors import BodyTooLarge, ClientLeft, Draining

# Room for the options of a model with thousands of classes. Texts are read on the event loop.
MOST_TEXT = 64 * 1024
# What the server says to itself when it begins to end (service.app.websocket); clients are told 1001.
SERVER_ENDS = 1012


class StreamSocket:
    """`left` is the code that the connection ended with, once it did so without us."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.accepted = False
        self.left: int | None = None

    async def accept(self, subprotocol: str | None, headers: Mapping[str, str]) -> None:
        """Answers the upgrade. Raises ClientLeft, as all that follow."""
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._say({"type": "websocket.accept", "subprotocol": subprotocol, "headers": pairs})
        self.accepted = True

    async def receive(self) -> str | bytes:
        """The next message. Raises BodyTooLarge for a long text, Draining when the server ends."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            code = int(message.get("code") or 1005)
            if code == SERVER_ENDS:
                raise Draining("the service is shutting down")
            self.left = code
            raise ClientLeft("the client left")
        text = message.get("text")
        if text is None:
            data: bytes = message["bytes"]
            return data
        if len(text) > MOST_TEXT:
            raise BodyTooLarge(f"a text message may have {MOST_TEXT:,} characters")
        return str(text)

    async def tell(self, document: Mapping[str, Any]) -> None:
        """Says it as JSON; waits while the client does not read."""
        await self._say({"type": "websocket.send", "text": to_json(document).decode()})

    async def close(self, code: int, reason: str) -> None:
        """The last word; does not wait."""
        await self._say({"type": "websocket.close", "code": code, "reason": reason})

    async def _say(self, message: Mapping[str, Any]) -> None:
        try:
            await self._send(dict(message))
        except OSError as exc:  # what ASGI calls it
            if self.left is None:
                self.left = 1006
            raise ClientLeft("the client left") from exc
