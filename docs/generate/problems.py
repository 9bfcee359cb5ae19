"""The errors of docs/reference/api.md: each problem type, with its status, its headers and what gRPC calls it."""

import json
from collections.abc import Iterator
from inspect import getdoc

from markup import code, plain, table
from schemas import example

from service.api.problems import TABLE, describe
from service.errors import Finding, InvalidOption, RateLimited
from service.streams.status import INTERNAL, code_of

HEADS = ("status", "type", "title", "when", "headers", "gRPC")
# What no error of the tree stands for: HTTP's own, what only one route says, and our bugs.
OTHERS: tuple[tuple[int, str, str, str, str, str], ...] = (
    (404, "not-found", "Not Found", "No route has this path.", "", ""),
    (405, "method-not-allowed", "Method Not Allowed", "The route has other methods.", "Allow", ""),
    (426, "upgrade-required", "Upgrade required", "A plain request to a WebSocket's route.", "Upgrade, Connection", ""),
    (500, INTERNAL, "Internal error", "A bug of the service, which the request id finds in its log.", "", "INTERNAL"),
    (503, "not-ready", "Not ready", "`/readyz` only: every reason is in the detail.", "Retry-After", ""),
)


def problems() -> str:
    """A table of all, in the order of their statuses."""
    rows = sorted([*map(_told, TABLE), *OTHERS], key=lambda row: row[0])
    return table(HEADS, (_row(*row) for row in rows))


def problem_example() -> str:
    """A document, as a service writes it."""
    problem = describe(InvalidOption(Finding("/iou", "Input should be less than or equal to 1")))
    response = problem.response("0b7e4f0c5a0e4d6c8f4f0a3d1f6f2b11", "/v1/detect")
    return example(json.loads(bytes(response.body)))


def sample(kind: type[Exception]) -> Exception:
    """One of its kind."""
    if issubclass(kind, RateLimited):
        return kind("too many", limit=20, window_s=1, retry_after_s=1)
    return kind(Finding("/iou", "too large")) if issubclass(kind, InvalidOption) else kind("why")


def _told(kind: type[Exception]) -> tuple[int, str, str, str, str, str]:
    status, name, title = TABLE[kind]
    error = sample(kind)
    problem = describe(error)  # type: ignore[arg-type]
    headers = ", ".join([*dict(problem.headers), *(["Connection"] if problem.closes else [])])
    return status, name, title, _first(kind), headers, code_of(error).name  # type: ignore[arg-type]


def _first(kind: type[Exception]) -> str:
    """Its docstring's first sentence."""
    return (getdoc(kind) or "").partition("\n")[0].partition(". ")[0].rstrip(".") + "."


def _row(status: int, name: str, title: str, when: str, headers: str, grpc: str) -> Iterator[str]:
    named = ", ".join(code(header) for header in headers.split(", "))
    yield from (str(status), code(name), plain(title), plain(when), named, code(grpc))
