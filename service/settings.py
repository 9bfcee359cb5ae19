"""What an operator may choose: one flat list, units in the names, each from the environment or from a flag.

Every setting is read from `YOLOV7_<NAME>` and from the flag `--<name>`, which wins. An unknown or invalid one stops
the start with one line. A default lives here and nowhere else. Only service.app reads the values.
"""

import json
import os
import re
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.exceptions import RedisError

from service.access import Rate
from service.cache import connect
from service.errors import SettingsError
from service.vision.image import FORMATS

PREFIX = "YOLOV7_"
# Kubernetes gives each container the addresses of the Services beside it. One that is called yolov7-service becomes
# YOLOV7_SERVICE_PORT=tcp://…, YOLOV7_SERVICE_SERVICE_HOST and so on, which nobody wrote and which set nothing: no
# setting's name begins with service_.
SERVICE_LINKS = f"{PREFIX}SERVICE_"
HIDDEN = "**********"


class Settings(BaseSettings):
    """What service.app builds the service from. `load` makes one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is every one of IPv4, with gRPC of IPv6")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc: bool = Field(True, description="whether gRPC is served beside HTTP")
    grpc_port: int = Field(50051, ge=0, le=65535, description="port of gRPC; 0 takes a free one")
    grpc_reflection: bool = Field(True, description="whether gRPC tells its methods to those who ask, such as grpcurl")
    tls_certificate: Path | None = Field(None, description="PEM chain, for HTTP and gRPC alike; unset: no TLS")
    tls_key: Path | None = Field(None, description="PEM key of tls_certificate")
    workers: int = Field(1, ge=1, le=64, description="processes; more need engine triton, and Redis for rates")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="how a log line is written")
    trace_endpoint: str | None = Field(
        None, description="OTLP over HTTP: where OpenTelemetry traces go; unset: nowhere"
    )

    model_repository: Path = Field(Path("model_repository"), description="folder of the models")
    default_model: str = Field("vehicles", description="model of requests that name none")
    engine: Literal["embedded", "triton"] = Field("embedded", description="what infers: this process, or Triton")
    known_image_interval_s: float = Field(60.0, gt=0, description="time between two runs of each model's known image")

    precision: Literal["f32", "bf16", "int8"] | None = Field(
        None,
        description="what the embedded engine computes in; unset takes bf16 where the CPU has it, else f32; int8 needs "
        "the file that yolov7-training quantise writes",
    )
    streams: int = Field(0, ge=0, le=256, description="batches inferred side by side; 0 takes one per core")
    max_batch_size: int = Field(1, ge=1, le=64, description="most images in one batch of the embedded engine")
    openvino_cache_dir: Path = Field(
        Path("~/.cache/yolov7-service/openvino"), description="folder that keeps compiled models for the next start"
    )

    triton_urls: str = Field("127.0.0.1:8001", description="gRPC addresses of Triton servers, comma-separated")
    triton_batches: int = Field(4, ge=1, le=256, description="most batches that are given to Triton at once")
    triton_precision: Literal["f32", "bf16", "fp16"] = Field(
        "fp16", description="what Triton computes in, for models whose config.pbtxt does not say"
    )
    triton_shared_memory: Literal["auto", "on", "off"] = Field(
        "auto", description="pictures through shared memory instead of the socket, where Triton is on this host"
    )

    cache_memory_bytes: int = Field(64 * 1024 * 1024, ge=0, description="candidates kept in memory; 0 keeps none")
    cache_ttl_s: int = Field(3600, ge=1, description="how long candidates are kept")
    cache_secret: SecretStr | None = Field(
        None, min_length=1, description="key of the cache's hashes; needed with Redis"
    )
    cache_secret_file: Path | None = Field(None, description="file that holds cache_secret")
    redis_url: SecretStr | None = Field(None, description="Redis, which shares cache, rates and leases; unset: none")
    redis_url_file: Path | None = Field(None, description="file that holds redis_url")

    keys_file: Path | None = Field(None, description="TOML file of API keys; unset: no key is needed to detect")
    rate: str | None = Field(None, description="rate of keys that set none, such as 20/second; unset: unlimited")
    anonymous_rate: str | None = Field(None, description="rate of each address without a key; unset: unlimited")

    worker_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="threads that decode and draw; 0 takes one per core",
    )
    max_in_flight: int = Field(128, ge=1, description="requests in flight; more are refused")
    queue_capacity: int = Field(128, ge=1, description="images that may wait for a batch; more are refused")
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1, description="largest request body")
    max_pixels: int = Field(50_000_000, ge=1, description="largest picture, width times height")
    max_frames: int = Field(1000, ge=1, description="most frames of an animated picture, of which the first is used")
    formats: str = Field("JPEG,PNG,WEBP,BMP,GIF,TIFF", description="picture formats taken, comma-separated")
    body_timeout_s: float = Field(20.0, gt=0, description="time a request body may take to arrive")
    request_timeout_ms: int = Field(30_000, ge=1, description="deadline of requests that set none")
    max_request_timeout_ms: int = Field(60_000, ge=1, description="longest deadline of any request")

    max_streams: int = Field(64, ge=1, description="streams that each process has open at once; more are refused")
    stream_credits: int = Field(16, ge=1, le=256, description="most unanswered frames of a stream that loses none")
    allowed_origins: str = Field(
        "", description="origins whose pages alone may open streams, comma-separated; where empty, the service's own"
    )

    drain_delay_s: float = Field(0.0, ge=0, description="time between not ready and closing the door, on SIGTERM")
    drain_timeout_s: int = Field(30, ge=1, description="time that accepted requests have to finish, on SIGTERM")

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, names: str) -> str:
        unknown = [name.strip() for name in names.split(",") if name.strip().upper() not in FORMATS]
        if unknown:
            raise ValueError(f"no picture format is called {unknown[0]!r}; there are {', '.join(sorted(FORMATS))}")
        return names

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in filter(None, (part.strip() for part in origins.split(","))):
            if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]*?#]+)(:[0-9]{1,5})?/?", origin):
                raise ValueError(f"{origin!r} is no origin such as https://example.org or http://10.0.0.5:8080")
        return origins

    @field_validator("rate", "anonymous_rate")
    @classmethod
    def _readable_rate(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                Rate.parse(text)
            except SettingsError as exc:
                raise ValueError(str(exc)) from exc
        return text

    @field_validator("triton_urls")
    @classmethod
    def _usable_addresses(cls, urls: str) -> str:
        for address in (part.strip() for part in urls.split(",")):
            if "://" in address:
                raise ValueError("a gRPC address has no scheme: host:port, such as triton:8001, or unix:/path")
            if not _is_address(address):
                raise ValueError(f"{_without_userinfo(address)!r} is no address such as host:port or unix:/path")
        return urls

    @field_validator("redis_url")
    @classmethod
    def _usable_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                # Connects to nothing; an option that Redis's client does not know shows only here.
                connect(url.get_secret_value()).connection_pool.make_connection()  # type: ignore[no-untyped-call]
            except (ValueError, TypeError, RedisError):
                raise ValueError("it must be like redis://host:6379/0, rediss://… or unix:///path") from None
        return url

    @model_validator(mode="after")
    def _together(self) -> Self:
        """What single settings cannot tell."""
        if self.workers > 1 and self.engine == "embedded":
            raise ValueError("workers: the embedded engine runs in one process; more need engine triton")
        if self.workers > 1 and self.redis_url is None and (self.rate or self.anonymous_rate):
            name = "rate" if self.rate else "anonymous_rate"
            raise ValueError(f"{name}: each of several workers would grant it; they need redis_url to count together")
        if self.redis_url is not None and self.cache_secret is None:
            raise ValueError("cache_secret: needed with redis_url, and the same in every replica")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate: it and tls_key are given together or not at all")
        return self

    @classmethod
    def load(cls, flags: Mapping[str, str]) -> Self:
        """From the environment and the flags given, by setting. Raises SettingsError with one line."""
        names = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        ours = (name for name in os.environ if name.startswith(PREFIX) and not name.startswith(SERVICE_LINKS))
        unknown = sorted(name for name in ours if name not in names)
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}; `yolov7-service serve --help` lists them all")
        given: dict[str, Any] = dict(flags)
        for name in filter(_is_secret, cls.model_fields):
            path = given.get(f"{name}_file") or os.environ.get(f"{PREFIX}{name.upper()}_FILE")
            if not path:
                continue
            if given.get(name) or os.environ.get(f"{PREFIX}{name.upper()}"):
                raise SettingsError(f"{name} is given twice: as it is, and as {name}_file")
            given[name] = _secret(Path(path), name)
        try:
            return cls(**given)
        except ValidationError as exc:
            raise SettingsError("; ".join(_finding(error) for error in exc.errors())) from exc

    def as_line(self) -> str:
        """The effective configuration for the log; a secret shows as asterisks."""
        document = self.model_dump(mode="json")
        if self.trace_endpoint is not None:
            document["trace_endpoint"] = _without_userinfo(self.trace_endpoint)
        return json.dumps(document)


def add_flags(parser: ArgumentParser, names: Iterable[str] = ()) -> None:
    """Adds a flag for each setting named, or for all. Its help names the values, the variable and the default."""
    group = parser.add_argument_group("settings")
    for name in names or Settings.model_fields:
        field = Settings.model_fields[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=SUPPRESS,
            metavar=f"{{{','.join(choices(name))}}}" if choices(name) else name.rsplit("_", 1)[-1].upper(),
            help=f"{field.description} [{PREFIX}{name.upper()}, default: {written(field.default)}]".replace("%", "%%"),
        )


def choices(name: str) -> tuple[str, ...]:
    """The values that a setting may have, where they are few."""
    annotation = Settings.model_fields[name].annotation
    if annotation is bool:
        return "true", "false"
    kinds = (annotation, *get_args(annotation))
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def written(default: object) -> str:
    """A setting's default as one would write it."""
    return "unset" if default in (None, "") else str(default).lower() if isinstance(default, bool) else str(default)


def given_flags(arguments: Namespace) -> dict[str, str]:
    """The settings among parsed arguments, as they were written."""
    return {name: value for name, value in vars(arguments).items() if name in Settings.model_fields}


def _secret(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"--{name.replace('_', '-')}-file: {path} cannot be read: {exc}") from exc


def _is_address(text: str) -> bool:
    if text.startswith("unix:"):
        return text != "unix:"
    host, _, port = text.rpartition(":")
    # An IPv6 address has brackets, or its last group would be taken for the port.
    named = re.fullmatch(r"\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+", host)
    return bool(named and re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535)


def _without_userinfo(url: str) -> str:
    """Up to the last @, wherever it is: what is no proper URL may hold a password just as well."""
    scheme, separator, rest = url.rpartition("://")
    _, at, shown = rest.rpartition("@")
    return f"{scheme}{separator}{HIDDEN}@{shown}" if at else url


def _is_secret(name: str) -> bool:
    return f"{name}_file" in Settings.model_fields


def _finding(error: Any) -> str:
    # "Input should be a valid integer, unable to parse …": what it is to be is enough.
    text = (
        str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be").partition(", unable")[0]
    )
    if error["type"] == "too_short":
        text = "must not be empty"
    if not error["loc"]:
        return text
    name = str(error["loc"][0])
    # Our own checks say themselves what they were given, where it may be said.
    got = "" if error["type"] == "value_error" or _is_secret(name) else f" (got {error['input']!r})"
    return f"--{name.replace('_', '-')} / {PREFIX}{name.upper()}: {text}{got}"
