"""How a gRPC call ends, in the tree of service.client.errors, and how its channel is set up."""

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from service.client.address import Address
from service.client.errors import ClientError, ConnectionFailed, Finding, Problem, TimedOut, error_of

# What grpc.aio says where a call ended while a message was on its way.
BROKEN = "Internal error from Core"
DETAILS = "grpc-status-details-bin"
REQUEST_ID = "x-request-id"

# What HTTP answers in the same case. What is not here is a failure of the service.
STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 503,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

# A peer that is gone is noticed by a ping; a service that comes back is found within seconds. The key is for the
# service, and for no proxy that an environment happens to name.
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def open_channel(address: Address, *, connect_timeout_s: float) -> grpc.Channel:
    """For threads. Connects when it is first used."""
    options = _options(connect_timeout_s)
    if not address.tls:
        return grpc.insecure_channel(address.grpc, options=options)
    return grpc.secure_channel(address.grpc, grpc.ssl_channel_credentials(address.authority), options=options)


def open_async_channel(address: Address, *, connect_timeout_s: float) -> grpc.aio.Channel:
    """For the event loop that is running."""
    options = _options(connect_timeout_s)
    if not address.tls:
        return grpc.aio.insecure_channel(address.grpc, options=options)
    return grpc.aio.secure_channel(address.grpc, grpc.ssl_channel_credentials(address.authority), options=options)


def credentials(key: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that brings a key."""
    return () if key is None else (("authorization", f"Bearer {key}"),)


def call_error(error: Any) -> ClientError:
    """What the end of a call means. Takes what both kinds of channel raise, for which there is no common type."""
    return _error(error.code(), error.details() or "", error.trailing_metadata())


def _error(code: grpc.StatusCode, text: str, trailers: Iterable[tuple[str, str | bytes]] | None) -> ClientError:
    metadata = dict(trailers or ())
    request_id = str(metadata.get(REQUEST_ID, ""))
    if not request_id and (code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) or text == BROKEN):
        # The service puts its id on whatever it says, so this is from the transport.
        return ConnectionFailed(text)
    if not request_id and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(text)
    status = STATUS.get(code, 500)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        status = 413  # a frame that the library itself refused
    name = code.name.lower().replace("_", "-")
    problem = Problem(status, name, _title(name), text, request_id=request_id)
    details = metadata.get(DETAILS)
    if not isinstance(details, bytes):
        return error_of(problem)
    return _detailed(problem, details)


def _detailed(problem: Problem, details: bytes) -> ClientError:
    name, findings, retry_after_s = problem.name, problem.findings, None
    for detail in Status.FromString(details).details:
        info, request, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            name = info.reason
        elif detail.Unpack(request):
            findings = tuple(
                Finding("/" + found.field.replace(".", "/"), found.description) for found in request.field_violations
            )
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    status = problem.status
    if retry_after_s is None and status in (429, 503):
        # Nothing that passes: too many bytes, or a model in a state that does not allow it.
        status = 413 if status == 429 else 409
    exact = Problem(status, name, _title(name), problem.detail, findings, problem.request_id)
    return error_of(exact, retry_after_s=retry_after_s)


def _options(connect_timeout_s: float) -> list[tuple[str, int]]:
    # What gRPC calls the least back-off is the time that one connection has to come about.
    return [*CHANNEL_OPTIONS, ("grpc.min_reconnect_backoff_ms", round(connect_timeout_s * 1000))]


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()
