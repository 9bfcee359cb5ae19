"""The folder that a parent and its workers share: their series, their leases, and which of them have served.

The environment names it to the children (service.metrics.SHARED). It goes with the parent; what a parent left that was
killed goes when the next one starts. Whether anybody still uses a folder is told by a lock that all of them hold on it,
and not by the parent's pid alone: its workers may outlive it for as long as they drain, and a pid is only known within
one container, while several may share a folder for temporary files.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.metrics import SHARED

PREFIX = "yolov7-metrics-"
NAME = re.compile(rf"{PREFIX}(\d{{1,9}})-.+")
IN_USE = "in-use"


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """The parent's side: a new folder, known to all processes that are started within, and gone afterwards."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    use(folder)
    # Children read it before they import prometheus_client, which looks only then.
    os.environ[SHARED] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def use(folder: Path) -> None:
    """Nobody removes the folder while this process lives: the lock ends with it, however that ends."""
    descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def mark_served(folder: Path) -> None:
    """Tells the parent that this worker has come so far as to serve."""
    _mark(folder, os.getpid()).touch()


def has_served(folder: Path, pid: int) -> bool:
    """Whether that worker ever came so far."""
    return _mark(folder, pid).exists()


def _mark(folder: Path, pid: int) -> Path:
    return folder / f"served-{pid}"


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        found = NAME.fullmatch(folder.name)
        if found and _is_gone(int(found[1])) and not _is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    # Ours was given out before: the first process of a container that was started again has the number it had.
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / IN_USE, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's, who alone can tell
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
