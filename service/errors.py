"""Every error that the service raises on purpose, in one tree.

    ServiceError
    ├── RequestError           the caller's doing: the same request fails again
    │   ├── Unauthenticated    no key, or one that is not known
    │   ├── Forbidden          the key lacks the right
    │   ├── RateLimited        this client is over its rate; carries when to come back
    │   ├── MalformedRequest   the body is not what its content type says, or a field is missing
    │   ├── UnsupportedBody    a content type that carries no image
    │   ├── NotAcceptable      no answer of ours fits the Accept header
    │   ├── BodyTooLarge       more bytes than the limit
    │   ├── BodyTooSlow        the body did not arrive in time
    │   ├── StreamTooSlow      the answers of a stream were not taken in time
    │   ├── InvalidOption      an option is unknown or out of range; carries each finding
    │   ├── UnknownModel       no such model or version; says which exist
    │   └── ModelConflict      what was asked of a model does not fit the state it is in
    ├── Unavailable            ours and passing: retry after `retry_after_s`
    │   ├── Overloaded         every place is taken, or:
    │   │   └── TooLate        the answer could not be ready in time
    │   ├── Draining           the service is shutting down
    │   ├── ModelNotReady      not loaded yet, or the known image came out wrong
    │   └── EngineFailed       the engine could not run a batch
    │       ├── EngineDown     no engine can be reached: running the images one by one would not help
    │       └── EngineNonsense the engine's answer is not what its model promises
    ├── DeadlineExceeded       the answer would come too late
    ├── ClientLeft             nobody waits for the answer any more
    └── StartError             stops the start with one line
        ├── SettingsError      a setting is unknown or invalid
        └── RepositoryError    a model is missing, damaged or not what its spec says

    ImageError                 service.vision's own, re-exported here
    ├── UnsupportedImage       a format that we do not accept
    ├── UndecodableImage       the right format, damaged
    └── ImageTooLarge          more pixels than the limit

This module knows no transport: each transport owns one table from type to status (service.api.problems for HTTP).
"""

from dataclasses import dataclass

from service.vision.image import ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "ClientLeft",
    "DeadlineExceeded",
    "Draining",
    "EngineDown",
    "EngineFailed",
    "EngineNonsense",
    "Finding",
    "Forbidden",
    "ImageError",
    "ImageTooLarge",
    "InvalidOption",
    "MalformedRequest",
    "ModelConflict",
    "ModelNotReady",
    "NotAcceptable",
    "Overloaded",
    "RateLimited",
    "RepositoryError",
    "RequestError",
    "ServiceError",
    "SettingsError",
    "StartError",
    "StreamTooSlow",
    "TooLate",
    "Unauthenticated",
    "Unavailable",
    "UndecodableImage",
    "UnknownModel",
    "UnsupportedBody",
    "UnsupportedImage",
]


class ServiceError(Exception):
    """Root of the tree. The message is written for the caller and holds nothing internal."""


class RequestError(ServiceError):
    """The caller's doing."""


class Unauthenticated(RequestError):
    """No key, or one that is not known."""


class Forbidden(RequestError):
    """A key that lacks the right."""


class RateLimited(RequestError):
    """Over the client's rate. `limit` requests are allowed in `window_s`; a new one is after `retry_after_s`."""

    def __init__(self, message: str, *, limit: int, window_s: int, retry_after_s: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.window_s = window_s
        self.retry_after_s = retry_after_s


class MalformedRequest(RequestError):
    """A body that is not what its content type says, or lacks a field."""


class UnsupportedBody(RequestError):
    """A content type that carries no image."""


class NotAcceptable(RequestError):
    """An Accept header that leaves out every answer of ours."""


class BodyTooLarge(RequestError):
    """More bytes than the limit."""


class BodyTooSlow(RequestError):
    """A body that did not arrive in time."""


class StreamTooSlow(RequestError):
    """The answers of a stream were not taken in time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a request. `pointer` is a JSON pointer to the option, such as `/confidence`."""

    pointer: str
    detail: str


class InvalidOption(RequestError):
    """An option that is unknown or out of range."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(f"{finding.pointer[1:]}: {finding.detail}" for finding in findings))
        self.findings = findings


class UnknownModel(RequestError):
    """No such model or version; the message says which exist."""


class ModelConflict(RequestError):
    """What was asked of a model does not fit the state it is in: it cannot be loaded, or is in use."""


class Unavailable(ServiceError):
    """Ours and passing: worth another try after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """Every place is taken, or the answer could not be ready before the deadline."""


class TooLate(Overloaded):
    """The answer could not be ready before the deadline, as far as can be told."""


class Draining(Unavailable):
    """The service is shutting down."""


class ModelNotReady(Unavailable):
    """Not loaded yet, or the known image came out wrong."""


class EngineFailed(Unavailable):
    """The engine could not run a batch."""


class EngineDown(EngineFailed):
    """No engine can be reached: running the images of a batch one by one would not help."""


class EngineNonsense(EngineFailed):
    """The engine answered, but not what its model promises: other shapes, types or counts."""


class DeadlineExceeded(ServiceError):
    """The answer would come too late."""


class ClientLeft(ServiceError):
    """Nobody waits for the answer any more."""


class StartError(ServiceError):
    """Stops the start with one line."""


class SettingsError(StartError):
    """A setting is unknown or invalid."""


class RepositoryError(StartError):
    """A model is missing, damaged or not what its spec says."""
