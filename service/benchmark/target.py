"""The service that is measured: it is asked for one picture first, and what it says of itself."""

import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from service.client import web
from service.client.address import Address
from service.client.errors import ClientError
from service.client.results import Model, Result

CONNECT_TIMEOUT_S = 5.0
# What the time of one request is spent on; both are part of every figure.
INCLUDES = "upload, decode, letterbox, queue, inference, NMS, JSON"


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how is asked. Raises ValueError for what is no URL or no key, OSError for a `ca` that is not there.

    query: options of POST /v1/detect. cached: whether the service may answer from its cache.
    """

    url: str
    query: Sequence[tuple[str, str]] = ()
    key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cached: bool = False

    def __post_init__(self) -> None:
        Address.of(self.url, ca=self.ca)
        parts = urlsplit(self.url)
        if parts.username or parts.password:
            raise ValueError("the address holds a password, which would be written down: keys go by --key-file")
        if parts.query or parts.fragment:
            raise ValueError(f"{self.url}: options go by --option, not in the address")
        web.authorisation(self.key)

    @property
    def detect_url(self) -> str:
        """With the options."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.url.rstrip('/')}/v1/detect{query}"

    @property
    def headers(self) -> dict[str, str]:
        """Of every request, without the key."""
        return {"Accept": "application/json"} | ({} if self.cached else {"Cache-Control": "no-store"})

    @property
    def here(self) -> bool:
        """Whether it runs on this machine, which it then shares with the generator."""
        address = urlsplit(self.url)
        with contextlib.suppress(OSError):
            found = socket.getaddrinfo(address.hostname, 0, type=socket.SOCK_DGRAM)
            return any(_is_own(family, place) for family, _, _, _, place in found)
        return False


@dataclass(frozen=True, slots=True)
class Server:
    """What answered. `stages_ms`: where the time of one request went, while nothing else was asked by us.

    model: what /v1/models says of the model that answered; None where that is not to be had.
    """

    name: str
    version: str
    stages_ms: Mapping[str, float]
    detections: int
    model: Model | None

    @property
    def title(self) -> str:
        """For people."""
        text = f"{self.name}/{self.version}"
        if self.model is None:
            return text
        known = (self.model.precision, self.model.engine, self.model.device)
        return f"{text} ({', '.join(part for part in known if part)})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        model = None
        if self.model is not None:
            left_out = ("class_names", "origin")
            model = {name: value for name, value in asdict(self.model).items() if name not in left_out}
        return {
            "name": self.name,
            "version": self.version,
            "model": model,
            "first_request": {"stages_ms": dict(self.stages_ms), "detections": self.detections},
        }


def ask(target: Target, picture: bytes, *, timeout_s: float) -> Server:
    """Has one picture detected. Raises a ClientError where the service does not answer that with 200."""
    address = Address.of(target.url, ca=target.ca)
    headers = target.headers | web.authorisation(target.key)
    with httpx.Client(base_url=target.url, headers=headers, verify=address.trust(), trust_env=False) as http:
        detect = web.Request("POST", "/v1/detect", tuple(target.query), picture)
        result: Result = web.read_result(_send(http, detect, timeout_s))
        try:
            models = web.read_models(_send(http, web.MODELS, timeout_s))
        except ClientError:
            models = ()  # a gateway in front may let nothing through but detections
    answered = result.model.name, result.model.version
    return Server(
        *answered,
        stages_ms={stage: seconds * 1000 for stage, seconds in result.stage_seconds.items()},
        detections=len(result.detections),
        model=next((model for model in models if (model.name, model.version) == answered), None),
    )


def _send(http: httpx.Client, request: web.Request, timeout_s: float) -> httpx.Response:
    built = request.build(http, timeout_s, connect_timeout_s=CONNECT_TIMEOUT_S)
    try:
        return http.send(built)
    except httpx.RequestError as exc:
        raise web.transport_error(exc, built) from exc


def _is_own(family: int, place: Any) -> bool:
    """Only an address of this machine can be listened at."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as own:
        own.bind(place)
        return True
    return False
