"""Errors as gRPC tells them: one table from type to status, with google.rpc details.

Nothing here decides what is an error. What programs tell errors apart by has the same names as over HTTP.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientLeft,
    DeadlineExceeded,
    Draining,
    EngineFailed,
    EngineNonsense,
    Finding,
    Forbidden,
    ImageError,
    ImageTooLarge,
    InvalidOption,
    MalformedRequest,
    ModelConflict,
    ModelNotReady,
    NotAcceptable,
    Overloaded,
    RateLimited,
    ServiceError,
    StreamTooSlow,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
    UnknownModel,
    UnsupportedBody,
    UnsupportedImage,
)

MOST_TEXT = 500
MOST_FINDINGS = 4
DOMAIN = "yolov7-service"
INTERNAL = "internal"

# Type of error → code. A subclass that is not here is answered as its parent.
TABLE: Mapping[type[Exception], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
    UnsupportedBody: grpc.StatusCode.INVALID_ARGUMENT,
    NotAcceptable: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownModel: grpc.StatusCode.NOT_FOUND,
    ModelConflict: grpc.StatusCode.FAILED_PRECONDITION,
    BodyTooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    StreamTooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ImageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnsupportedImage: grpc.StatusCode.INVALID_ARGUMENT,
    UndecodableImage: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidOption: grpc.StatusCode.INVALID_ARGUMENT,
    RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ClientLeft: grpc.StatusCode.CANCELLED,
    Overloaded: grpc.StatusCode.UNAVAILABLE,
    Draining: grpc.StatusCode.UNAVAILABLE,
    ModelNotReady: grpc.StatusCode.FAILED_PRECONDITION,
    EngineNonsense: grpc.StatusCode.UNAVAILABLE,
    EngineFailed: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class CallStatus(grpc.Status):
    """How a call ends: `abort_with_status` takes it."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def code_of(error: ServiceError | ImageError) -> grpc.StatusCode:
    """The status code of an error of the tree in service.errors."""
    return TABLE[_kind(error)]


def name_of(error: ServiceError | ImageError) -> str:
    """The last part of the problem type that HTTP would answer, such as `undecodable-image`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", _kind(error).__name__).lower()


def describe(error: ServiceError | ImageError, request_id: str) -> CallStatus:
    """The status that ends a call, with its details."""
    details: list[Message] = []
    if isinstance(error, Unavailable | RateLimited):
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after_s)))
    findings = error.findings if isinstance(error, InvalidOption) else ()
    if isinstance(error, UndecodableImage):
        findings = (Finding("/image", str(error)),)
    if findings:
        violations = [
            BadRequest.FieldViolation(field=_field(found)[:MOST_TEXT], description=found.detail[:MOST_TEXT])
            for found in findings[:MOST_FINDINGS]
        ]
        details.append(BadRequest(field_violations=violations))
    return _status(code_of(error), str(error), name_of(error), request_id, details)


def describe_bug(request_id: str) -> CallStatus:
    """What is said of a failure of ours: nothing but the id, by which the log has the rest."""
    text = "this is a bug of the service, not of your request"
    return _status(grpc.StatusCode.INTERNAL, text, INTERNAL, request_id, [])


def _kind(error: ServiceError | ImageError) -> type[Exception]:
    return next(kind for kind in type(error).__mro__ if kind in TABLE)


def _field(finding: Finding) -> str:
    """A path as google.rpc writes it, of a JSON pointer."""
    return finding.pointer.removeprefix("/").replace("/", ".")


def _status(code: grpc.StatusCode, text: str, name: str, request_id: str, details: list[Message]) -> CallStatus:
    # A client takes no more than some kilobytes of trailers, and would tell of nothing but that.
    text = text[:MOST_TEXT]
    status = Status(code=code.value[0], message=text)
    for detail in (ErrorInfo(reason=name, domain=DOMAIN), RequestInfo(request_id=request_id), *details):
        status.details.add().Pack(detail)
    told = rpc_status.to_status(status)
    return CallStatus(told.code, told.details, (*told.trailing_metadata, ("x-request-id", request_id)))
