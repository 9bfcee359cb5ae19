"""A file of a page as it lies in memory: its bytes, packed and not, and how a request for it is answered.

Knows nothing of paths and pages.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
PACKED = ".gz"


@dataclass(frozen=True, slots=True)
class Asset:
    """`name` is the file's without the .gz that it may have on disk; it decides the content type."""

    name: str
    data: bytes
    packed: bytes = field(init=False, repr=False)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", gzip.compress(self.data, mtime=0))
        object.__setattr__(self, "etag", sha256(self.data).hexdigest()[:20])

    @classmethod
    def read(cls, path: Path) -> "Asset":
        """What is packed on disk is unpacked once, for those who take nothing packed."""
        data = path.read_bytes()
        return cls(path.name, data) if path.suffix != PACKED else cls(path.stem, gzip.decompress(data))

    def answer(self, asked: Headers, headers: Mapping[str, str]) -> Response:
        """200, or 304 to who has it. `headers` are those of its page."""
        packed = _takes_gzip(asked.get("accept-encoding", ""))
        # The two forms are different bytes, and so have different tags (RFC 9110, 8.8.3).
        etag = f'"{self.etag}-gzip"' if packed else f'"{self.etag}"'
        own = {**headers, "ETag": etag, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
        if _has(asked.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=own)
        own["Content-Type"] = MEDIA_TYPES[Path(self.name).suffix]
        if packed:
            own["Content-Encoding"] = "gzip"
        return Response(self.packed if packed else self.data, headers=own)


def _takes_gzip(accept_encoding: str) -> bool:
    for item in accept_encoding.lower().split(","):
        coding, _, quality = item.replace(" ", "").partition(";q=")
        if coding in ("gzip", "*"):
            return not quality or quality.strip("0.") != ""
    return False


def _has(if_none_match: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in if_none_match.split(","))
