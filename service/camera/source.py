"""What can be watched, told from its text alone. Opens nothing.

A source is live where it goes on whether it is read or not: a live one that is lost is opened again, for ever, and of
its frames the newest are wanted; one that is not live ends, and all of its frames are.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["network", "device", "file", "folder", "picture", "pipe"]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# A file that somebody serves over HTTP ends; anything else there is a camera.
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv"})

# What follows it in a sentence does not belong to it.
_URL = re.compile(r"([a-zA-Z][\w+.-]*://)([^\s'\"]*[^\s'\":;,])")


class SourceError(Exception):
    """A source cannot be read, or no longer. `passing`: worth another try, because the camera may come back."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(mask(message))
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Source:
    """`location` is as it was given, with its password; `name` is what may be shown."""

    location: str = field(repr=False)
    kind: Kind
    live: bool

    @classmethod
    def of(cls, text: str, *, live: bool | None = None) -> "Source":
        """`live` overrules what the text seems to say. Raises SourceError for a path where nothing is, and no URL."""
        kind = _kind(text)
        try:
            seems_live = _seems_live(text, kind)
        except ValueError as exc:
            raise SourceError(f"{text}: this is no address") from exc
        return cls(text, kind, seems_live if live is None else live)

    @property
    def name(self) -> str:
        """For logs and the screen: no password, and nothing of a query."""
        return "standard input" if self.kind == "pipe" else mask(self.location)

    @property
    def short_name(self) -> str:
        """The host or the file, in up to 100 printable characters, for the service's log."""
        if self.kind == "network":
            parts = urlsplit(self.name)
            name = (parts.hostname or "") + parts.path
        else:
            name = Path(self.name).name
        return "".join(letter if letter.isprintable() else "?" for letter in name)[:100]


def mask(text: str) -> str:
    """The text, with user names, passwords and queries of all URLs in it replaced by stars."""
    return _URL.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    head, asked, _ = rest.partition("?")
    # A password with a slash belongs to no URL that works, but is not to be shown either.
    _, at, place = head.rpartition("@")
    return f"{scheme}{'***@' if at else ''}{place}{'?***' if asked else ''}"


def _kind(text: str) -> Kind:
    if text == "-":
        return "pipe"
    if _URL.match(text):
        return "network"
    if text.startswith("/dev/"):
        return "device"
    path = Path(text)
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise SourceError(f"{text}: there is no such file, folder or device")
    return "picture" if path.suffix.lower() in PICTURES else "file"


def _seems_live(text: str, kind: Kind) -> bool:
    if kind == "network":
        parts = urlsplit(mask(text))
        return parts.scheme not in ("http", "https") or Path(parts.path).suffix.lower() not in VIDEOS
    return kind == "device"
