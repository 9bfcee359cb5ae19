"""Which form of the answer a client wants, and what it allows the cache: Accept, Cache-Control, Cache-Status."""

import re
from functools import lru_cache

from service.detector import CacheResult
from service.detector.options import choose_caching as choose_caching
from service.errors import NotAcceptable
from service.vision.encode import MEDIA_TYPES

JSON = "application/json"
OFFERED = (JSON, *MEDIA_TYPES)
# RFC 9110, 12.4.2. What is none counts as 0: what cannot be understood is not to be wanted.
QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")

# RFC 9211. What was computed anew says why the request had to go forward.
CACHE_STATUS: dict[CacheResult, str] = {
    "hit_memory": "yolov7-service; hit; detail=memory",
    "hit_redis": "yolov7-service; hit; detail=redis",
    "miss": "yolov7-service; fwd=miss; stored",
    "collapsed": "yolov7-service; fwd=miss; collapsed",
    "refresh": "yolov7-service; fwd=request; stored",
    "off": "yolov7-service; fwd=bypass",
}


@lru_cache(maxsize=256)
def choose_media_type(accept: str) -> str:
    """JSON, or the picture's media type that an Accept header prefers; JSON where it is empty.

    The best quality wins; of equal ones the more specific range, then our own order. Raises NotAcceptable.
    """
    if not accept.strip():
        return JSON
    ranges = [_range(item) for item in accept.split(",")]
    best = max(OFFERED, key=lambda offer: _rank(offer, ranges))
    if _rank(best, ranges)[0] <= 0:
        raise NotAcceptable(f"the answer is one of {', '.join(OFFERED)}, which Accept: {accept[:200]} leaves out")
    return best


def _range(item: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            quality = float(parameter[2:]) if QUALITY.fullmatch(parameter[2:]) else 0.0
    return name, quality


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """The quality that the most specific range gives to an offer, and how specific that is."""
    kind = offer.partition("/")[0]
    matching = {"*/*": 0, f"{kind}/*": 1, offer: 2}
    found = [(matching[name], quality) for name, quality in ranges if name in matching]
    if not found:
        return 0.0, 0
    specific, quality = max(found)
    return quality, specific
