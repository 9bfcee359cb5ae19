"""Which request the running code belongs to."""

import random
import re
from contextvars import ContextVar

SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def choose_request_id(given: str) -> str:
    """What the caller calls its request, where that is safe to repeat; else a new id."""
    # Unique, not secret: the system's random numbers would cost more than the routing.
    return given if SAFE_REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def current_request_id() -> str:
    """The id of the request that is being worked on; empty outside of any."""
    return _request_id.get()


def begin_request(request_id: str) -> None:
    """From here on, in this task and those it starts, the work belongs to this request."""
    _request_id.set(request_id)
