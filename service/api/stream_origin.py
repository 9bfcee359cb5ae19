"""Whose pages may open streams: a browser lets every page open a WebSocket anywhere, and only says which page it is.

Without a list these are the service's own, known by the host that was asked for. That host is what a name led to: who
owns a name may let it lead here, and then a page of his is as good as ours. A list leaves no room for that.
"""

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from service.errors import Forbidden

PORTS = {"http": 80, "https": 443}
Place = tuple[str | None, int | None]


class Origins:
    """`allowed`: the only ones, such as https://example.org; where there is none, the service's own."""

    def __init__(self, allowed: Iterable[str]) -> None:
        listed = [text for text in allowed if text.strip()]
        # What is no origin matches none, and opens nothing to others either.
        self._allowed = {_origin(text) for text in listed} if listed else None

    def check(self, origins: list[str], host: str) -> None:
        """Raises Forbidden for a foreign page. `origins`: the Origin headers that came; `host`: the Host header.

        The service's own pages are those whose host and port are those that were asked for; the scheme may differ,
        since what is in front of the service may speak TLS for it. Who sends no Origin is no browser.
        """
        if not origins:
            return
        origin = _origin(origins[0]) if len(origins) == 1 else None
        if origin is None or not self._is_allowed(origin, host):
            raise Forbidden("pages of this origin may not open streams here; see the setting allowed_origins")

    def _is_allowed(self, origin: tuple[str, Place], host: str) -> bool:
        if self._allowed is not None:
            return origin in self._allowed
        scheme, place = origin
        return place == _place(f"{scheme}://{host}")


def _origin(text: str) -> tuple[str, Place] | None:
    text = text.strip().rstrip("/")
    parts = _split(text)
    if parts is None or parts.scheme not in PORTS or text != f"{text.partition('://')[0]}://{parts.netloc}":
        return None
    place = _place(text)
    return None if place is None else (parts.scheme, place)


def _place(url: str) -> Place | None:
    """Host and port, with the port that the scheme implies."""
    parts = _split(url)
    if parts is None or not parts.hostname or "@" in parts.netloc:
        return None
    try:
        return parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
