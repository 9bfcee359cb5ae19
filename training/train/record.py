"""run.json of a run folder: what one needs to repeat the run, and on what it ran.

An entry a start: the command, the commit of the code and whether it had changes, versions, the data's hashes, seeds and
the machine. The recipe itself is config.json beside it.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from training.config import Config
from training.data import CocoDataset
from training.distributed import Processes
from training.evaluate.latency import cpu_name

_PACKAGES = ("yolov7-service", "torch", "numpy", "opencv-python-headless", "pycocotools", "simplejpeg", "pillow")
_GIT_TIMEOUT_S = 10.0
_THIS = Path(__file__).resolve()


def fingerprint(dataset: CocoDataset) -> str:
    """Return a hash of what is trained on: each image's name, size and bytes on disk, its boxes, classes and outlines.

    Pixels are not read: hashing COCO's would take minutes at every start.
    """
    found = hashlib.sha256("\0".join(dataset.class_names).encode())
    for image in dataset.images:
        found.update(f"\0{image.path.name} {image.width} {image.height} {image.path.stat().st_size}".encode())
        found.update(image.boxes_xyxy.tobytes() + image.classes.tobytes() + image.crowd.tobytes())
        for outline in image.outlines:
            found.update(b"" if outline is None else outline.tobytes())
    return found.hexdigest()


def add_start(folder: Path, config: Config, data: dict[str, str], *, processes: Processes, iteration: int) -> None:
    """Add this start to ``run.json``."""
    path = folder / "run.json"
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    starts.append(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "iteration": iteration,
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "code": _code(),
            "versions": {"python": platform.python_version(), "cuda": torch.version.cuda, **_versions()},
            "data": data,
            "seeds": {"weights and torch": config.seed, "images and order": [config.seed, "epoch", "image"]},
            "machine": _machine(),
            "processes": processes.world_size,
        }
    )
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps({"starts": starts}, indent=2))
    temporary.replace(path)


def _code(file: Path = _THIS) -> dict[str, Any]:
    """Return the commit of the repository that tracks ``file``, a module of training/train.

    Where none does, as in an image of a container or among a user's installed packages, GIT_COMMIT says it.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return {"commit": os.environ.get("GIT_COMMIT"), "changed": None}
    changes = _git(file.parents[2], "status", "--porcelain", "--", "training", "service/vision")
    return {"commit": _git(file.parent, "rev-parse", "HEAD"), "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # the arguments are this module's own
            ("git", *arguments),  # noqa: S607  # whichever git the user has
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }
