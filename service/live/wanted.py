"""What opens a stream, and what bounds all of them."""

import math
from dataclasses import dataclass
from typing import Literal

from service.access import Client
from service.detector.options import DetectOptions
from service.errors import Finding, InvalidOption
from service.live.frame import Delivery, Every, Latest

Transport = Literal["grpc", "websocket"]

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """`max_streams` are open at once. `timeout_s`: the longest that a frame of delivery `every` is tried.

    `credits` and `max_age_s` are the most that a client may ask for. `renew_s`: how often its key is looked up again.
    """

    max_streams: int
    credits: int
    max_age_s: float
    timeout_s: float
    send_timeout_s: float = 30.0
    renew_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """`client` is let in already, and may detect; `peer` tells anonymous clients apart for their rate.

    `name` is what the log calls the stream: up to 100 printable characters, or none.
    """

    options: DetectOptions
    delivery: Delivery
    client: Client
    peer: str
    name: str
    transport: Transport


def check_name(name: str) -> None:
    """Raises InvalidOption where the log could not show it."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidOption(Finding("/name", f"must be up to {LONGEST_NAME} printable characters"))


def bounded(delivery: Delivery, limits: StreamLimits) -> Delivery:
    """What is in force of what was asked for. Raises InvalidOption for no time and for no credits."""
    match delivery:
        case Latest(max_age_s):
            if math.isnan(max_age_s) or max_age_s <= 0:
                raise InvalidOption(Finding("/max_age", "must be above 0 seconds"))
            return Latest(min(max_age_s, limits.max_age_s))
        case Every(credits):
            if credits < 1:
                raise InvalidOption(Finding("/credits", "must be at least 1"))
            return Every(min(credits, limits.credits))
