"""Which request the running code belongs to."""

from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request that is being worked on; empty outside of any."""
    return _request_id.get()


def begin_request(request_id: str) -> None:
    """From here on, in this task and those it starts, the work belongs to this request."""
    _request_id.set(request_id)
