"""Official checkpoints, fetched on request: resumed after a break, moved into place only when complete and right.

The files are GPL-3.0 weights of the paper's authors: a user's choice, never shipped here. Nothing is opened; that is
``official.py``.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from training.checkpoint.format import CheckpointError

OFFICIAL_URL = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1"
TIMEOUT_S = 30.0  # of connecting and of each read
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What an official file must be."""

    size: int
    sha256: str


_MODELS = ("yolov7", "yolov7x", "yolov7-tiny", "yolov7-w6", "yolov7-e6", "yolov7-d6", "yolov7-e6e")
OFFICIAL_FILES: dict[str, KnownFile | None] = {
    **dict.fromkeys((f"{model}{suffix}" for model in _MODELS for suffix in ("", "_training")), None),
    "yolov7-tiny": KnownFile(12_639_769, "0fa1423606133c06362ec716029dade1169d5631e83195b75d8efa66d2ee0b77"),
}


def download(name: str, folder: Path, *, base_url: str = OFFICIAL_URL) -> Path:
    """Fetch ``<name>.pt`` into ``folder`` and return its path; a file that is there already is only checked.

    Raises CheckpointError for an unknown name, an answer that is no file, a break, or a wrong size or hash.
    """
    if name not in OFFICIAL_FILES:
        raise CheckpointError(f"no official file is called {name!r}; known: {', '.join(OFFICIAL_FILES)}")
    path = folder / f"{name}.pt"
    if not path.exists():
        partial = path.with_suffix(".pt.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(f"{base_url}/{path.name}", partial)
            _check(partial, OFFICIAL_FILES[name])
            partial.replace(path)
        except urllib.error.HTTPError as exc:
            raise CheckpointError(f"{exc.url}: {exc.code} {exc.reason}") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "reason", None) or exc
            raise CheckpointError(f"{base_url}/{path.name}: {reason} (call again to resume)") from exc
    else:
        _check(path, OFFICIAL_FILES[name])
    return path


def _fetch(url: str, partial: Path) -> None:
    """Append what is missing to ``partial``, or start again where the server does not resume."""
    if not url.startswith(("https://", "http://")):
        raise CheckpointError(f"{url}: not a web address")
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310  # checked above
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as exc:
        if have and exc.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            exc.close()
            partial.unlink()
            return _fetch(url, partial)
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        with partial.open("ab" if resumed else "wb") as file:
            for chunk in _progress(_chunks(response), partial.stem, start=start, total=total):
                file.write(chunk)
    size = partial.stat().st_size
    if total is not None and size < total:
        raise CheckpointError(f"{url}: broke off after {size} of {total} bytes (call again to resume)")
    return None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(_CHUNK_BYTES):
        yield chunk


def _progress(chunks: Iterator[bytes], name: str, *, start: int, total: int | None) -> Iterator[bytes]:
    """Pass the chunks on and draw how far they are."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, completed=start, total=total)
        for chunk in chunks:
            bar.advance(task, len(chunk))
            yield chunk


def _check(path: Path, known: KnownFile | None) -> None:
    """Compare with what is known of the file; a wrong partial file is removed, so that the next call starts afresh."""
    if known is None:
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if (size, digest) != (known.size, known.sha256):
        if path.suffix == ".part":
            path.unlink()
        raise CheckpointError(f"{path}: {size} bytes with sha256 {digest[:12]}…, not the official {known.size} bytes")
