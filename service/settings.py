"""What an operator may choose: one flat list, units in the names, each from the environment or from a flag.

Every setting is read from `YOLOV7_<NAME>` and from the flag `--<name>`, which wins. An unknown or invalid one stops
the start with one line. A default lives here and nowhere else. Only service.app reads the values.
"""

import json
import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import SettingsError

PREFIX = "YOLOV7_"


class Settings(BaseSettings):
    """What service.app builds the service from. `load` makes one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    model_repository: Path = Field(Path("model_repository"), description="folder of the models")
    default_model: str = Field("vehicles", description="model of requests that name none")
    precision: Literal["f32", "bf16"] | None = Field(
        None, description="what the embedded engine computes in; unset takes bf16 where the CPU has it, else f32"
    )
    streams: int = Field(0, ge=0, le=256, description="batches inferred side by side; 0 takes one per core")
    max_batch_size: int = Field(1, ge=1, le=64, description="most images in one batch")
    openvino_cache_dir: Path = Field(
        Path("~/.cache/yolov7-service/openvino"), description="folder that keeps compiled models for the next start"
    )

    worker_threads: int = Field(
        0, ge=0, le=256, description="threads that decode and postprocess; 0 takes one per core"
    )
    max_in_flight: int = Field(128, ge=1, description="requests in flight; more are refused")
    queue_capacity: int = Field(64, ge=1, description="images that may wait for a batch; more are refused")
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1, description="largest request body")
    max_pixels: int = Field(50_000_000, ge=1, description="largest picture, width times height")
    body_timeout_s: float = Field(20.0, gt=0, description="time a request body may take to arrive")
    request_timeout_ms: int = Field(30_000, ge=1, description="deadline of requests that set none")
    max_request_timeout_ms: int = Field(60_000, ge=1, description="longest deadline of any request")

    known_image_interval_s: float = Field(60.0, gt=0, description="time between two runs of each model's known image")
    drain_delay_s: float = Field(0.0, ge=0, description="time between not ready and closing the door, on SIGTERM")
    drain_timeout_s: int = Field(30, ge=1, description="time that accepted requests have to finish, on SIGTERM")

    @classmethod
    def load(cls, flags: Mapping[str, str]) -> Self:
        """From the environment and the flags given, by setting. Raises SettingsError with one line."""
        names = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in names)
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}; `yolov7-service serve --help` lists them all")
        given: dict[str, Any] = dict(flags)
        try:
            return cls(**given)
        except ValidationError as exc:
            raise SettingsError("; ".join(_finding(error) for error in exc.errors())) from exc

    def as_line(self) -> str:
        """The effective configuration for the log; a secret shows as asterisks."""
        return json.dumps(self.model_dump(mode="json"))


def add_flags(parser: ArgumentParser, names: Iterable[str] = ()) -> None:
    """Adds a flag for each setting named, or for all. Its help names the environment variable and the default."""
    group = parser.add_argument_group("settings")
    for name in names or Settings.model_fields:
        field = Settings.model_fields[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=SUPPRESS,
            metavar=name.rsplit("_", 1)[-1].upper(),
            help=f"{field.description} [{PREFIX}{name.upper()}, default: {field.default}]".replace("%", "%%"),
        )


def given_flags(arguments: Namespace) -> dict[str, str]:
    """The settings among parsed arguments, as they were written."""
    return {name: value for name, value in vars(arguments).items() if name in Settings.model_fields}


def _finding(error: Any) -> str:
    name = str(error["loc"][0])
    return f"--{name.replace('_', '-')} / {PREFIX}{name.upper()}: {error['msg']} (got {error['input']!r})"
