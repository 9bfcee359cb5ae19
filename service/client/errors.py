"""Every error that the client raises on purpose, in one tree.

    ClientError
    ├── RequestRefused      the caller's doing: the same request fails again
    ├── ServiceUnavailable  passing: overloaded, over the rate, shutting down; carries when to come back
    ├── ServiceFailed       a failure of the service, or something else than the service answers at this address
    ├── ConnectionFailed    there is no connection, or it broke
    └── TimedOut            the deadline passed before the answer was there, or the service says that time is up

Of a connection that does not come about: where `connect_timeout_s` passes first it is ConnectionFailed, and tried
again; where the deadline does, it is TimedOut, as whatever else lasts beyond that.

All hold `problem`, which is what the service said, alike over HTTP and gRPC, or None where it said nothing. What is
handed over wrongly, such as an array of another shape, is a ValueError or a TypeError, as anywhere.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a request. `pointer` is a JSON pointer to the option, such as `/confidence`."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What the service says of an error. `name` is stable and for programs, such as `unknown-model`.

    `status` is HTTP's; over gRPC, the one that HTTP would have answered.
    """

    status: int
    name: str
    title: str
    detail: str
    findings: tuple[Finding, ...] = ()
    request_id: str = ""


# What a client says that was closed before.
CLOSED = "the client is closed"


class ClientError(Exception):
    """Root of the tree."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class RequestRefused(ClientError):
    """The caller's doing: a picture, an option or a key that the service does not take. Never tried again."""

    problem: Problem

    def __init__(self, problem: Problem) -> None:
        super().__init__(_line(problem), problem)


class ServiceUnavailable(ClientError):
    """Ours and passing. `retry_after_s` is when the service said to come back; None where it did not say."""

    def __init__(self, message: str, problem: Problem | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, problem)
        self.retry_after_s = retry_after_s


class ServiceFailed(ClientError):
    """A bug or an engine of the service's, or an answer that is none of this service's."""


class ConnectionFailed(ClientError):
    """No connection, none within `connect_timeout_s`, or one that broke before the answer was there."""


class TimedOut(ClientError):
    """The deadline passed, here or at the service; also while a connection was still waited for."""


def error_of(problem: Problem, *, retry_after_s: float | None = None) -> ClientError:
    """The error that stands for a problem."""
    if problem.status in (429, 503):
        return ServiceUnavailable(_line(problem), problem, retry_after_s=retry_after_s)
    # 408: a picture, or the head of a request, did not reach the service in time.
    if problem.status in (408, 504):
        return TimedOut(_line(problem), problem)
    if 400 <= problem.status < 500:
        return RequestRefused(problem)
    return ServiceFailed(_line(problem), problem)


def _line(problem: Problem) -> str:
    text = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    return f"{text} (request {problem.request_id})" if problem.request_id else text
