"""The project's own checkpoint: plain containers and tensors in one file, written atomically, read as weights only.

A checkpoint says what the network is (variant, form, class names), holds its weights under our own keys, and what a
run needs to go on exactly where it stopped. This module does not know how a run is made of them (``train/start.py``),
nor the official files (``official.py``).
"""

import contextlib
import os
import pickle
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from training.nets import VARIANTS, Network, build_network, find_variant
from training.nets.variants import Form

FORMAT = "yolov7-service checkpoint"
FORMAT_VERSION = 1


class CheckpointError(Exception):
    """A checkpoint cannot be read, written or used; the message is one line that names the file."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one file holds. ``state`` and ``ema`` are ``Network.state_dict()``: our own keys, not the official ones."""

    variant: str  # a name that nets.find_variant knows
    form: Form
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    ema: dict[str, Tensor] | None = None  # averaged weights: what is evaluated and exported
    optimizer: dict[str, Any] | None = None  # Optimizer.state_dict()
    epoch: int = 0  # epochs completed
    iteration: int = 0
    config: dict[str, Any] = field(default_factory=dict)  # config.config_to_dict
    metrics: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # what a run resumes from: generator states, EMA updates

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and export: the averaged ones where there are any."""
        return self.state if self.ema is None else self.ema

    def save(self, path: Path) -> None:
        """Write to ``path`` so that whoever looks finds the old file or the whole new one. Raises CheckpointError."""
        content = {item.name: getattr(self, item.name) for item in fields(self)}
        if culprit := _first_foreign(content, "checkpoint"):
            raise CheckpointError(f"{path}: {culprit} is no plain value, so it could not be read back")
        with _replacing(path) as temporary:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that ``save`` wrote, onto the CPU. Raises CheckpointError for any other or damaged file."""
        table = _read(path)
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise CheckpointError(f"{path}: not a checkpoint of this trainer (official files: yolov7-training import)")
        found = table.get("format_version")
        if type(found) is not int or found != FORMAT_VERSION:
            raise CheckpointError(f"{path}: format version {found!r}, this trainer reads {FORMAT_VERSION}")
        names = {item.name for item in fields(cls)}
        content = {key: value for key, value in table.items() if key not in ("format", "format_version")}
        if wrong := sorted(names ^ set(content)):
            raise CheckpointError(f"{path}: missing or unknown entries: {', '.join(map(str, wrong))}")
        return cls(**content)


def load_network(path: Path) -> tuple[Network, Checkpoint]:
    """Build the network of a checkpoint with its averaged weights, if it has them. Raises CheckpointError."""
    checkpoint = Checkpoint.load(path)
    variant, num_classes = find_variant(checkpoint.variant), len(checkpoint.class_names)
    if variant is None:
        raise CheckpointError(f"{path}: unknown variant {checkpoint.variant!r}; known: {', '.join(VARIANTS)}")
    with torch.device("meta"):  # fresh weights would be drawn only to be overwritten
        network = build_network(variant, num_classes=num_classes, form=checkpoint.form)
    try:
        network.load_state_dict({key: value.clone() for key, value in checkpoint.weights.items()}, assign=True)
    except RuntimeError as exc:
        reason = str(exc).splitlines()[1].strip()
        raise CheckpointError(f"{path}: its weights are not those of {checkpoint.variant} ({reason})") from exc
    return network, checkpoint


def _read(path: Path) -> object:
    """Return what ``torch.load`` finds, after zipfile has compared the checksums, which torch does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a damaged file is refused for says enough
                content: object = torch.load(path, map_location="cpu", weights_only=True)
            return content
    except OSError as exc:
        raise CheckpointError(f"{path}: {exc.strerror or exc}") from exc
    except (
        zipfile.BadZipFile,
        zlib.error,
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
    ) as exc:
        raise CheckpointError(f"{path}: not a checkpoint, or damaged ({_first_line(exc)})") from exc
    raise CheckpointError(f"{path}: damaged: the checksum of {damaged} is wrong")


def _first_line(exc: Exception) -> str:
    """Some errors say nothing but what they are."""
    return next(iter(str(exc).splitlines()), type(exc).__name__)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, then move it there once its bytes are on the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as exc:
        raise CheckpointError(f"{path}: {exc.strerror}") from exc
    temporary = Path(name)
    try:
        yield temporary
        os.fsync(handle)
        os.fchmod(handle, 0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as exc:  # RuntimeError: how torch.save reports a full disk
        raise CheckpointError(f"{path}: could not be written ({_first_line(exc)})") from exc
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too: without it, a power cut may bring the old file back, or none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_foreign(value: object, where: str) -> str | None:
    """Return the path of the first value that ``weights_only`` reading would refuse, or None."""
    if value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str, bytes):
        return None
    if isinstance(value, dict):
        items = [(f"{where}[{key!r}]", part) for key, part in value.items()]
        if not all(type(key) in (bool, int, float, str) for key in value):
            return f"a key of {where}"
    elif isinstance(value, list | tuple):
        items = [(f"{where}[{index}]", part) for index, part in enumerate(value)]
    else:
        return where
    return next((found for name, part in items if (found := _first_foreign(part, name)) is not None), None)
