"""The engine that the settings name, built without the libraries of the other."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.batching.batcher import Infer
from service.engine.protocol import Engine, Target
from service.errors import StartError
from service.metrics import Metrics
from service.settings import Settings
from service.tracing import Tracer
from service.vision.detections import Candidates

logger = logging.getLogger(__name__)

Lease = Callable[[str, float], Awaitable[bool]]


def build_engine(settings: Settings, metrics: Metrics, lease: Lease) -> Engine:
    """Only the engine chosen is imported, so that a gateway needs no other's libraries."""
    try:
        return _triton(settings, metrics, lease) if settings.engine == "triton" else _embedded(settings)
    except ModuleNotFoundError as exc:
        extra = "triton" if settings.engine == "triton" else "service"
        raise StartError(f"engine {settings.engine} needs {exc.name}: pip install 'yolov7-service[{extra}]'") from exc


def _triton(settings: Settings, metrics: Metrics, lease: Lease) -> Engine:
    from service.engine.triton import TritonEngine, TritonOptions  # noqa: PLC0415 - see build_engine

    return TritonEngine(
        TritonOptions(
            urls=tuple(url.strip() for url in settings.triton_urls.split(",")),
            parallelism=settings.triton_batches,
            shared_memory=settings.triton_shared_memory,
            default_precision=settings.triton_precision,
        ),
        metrics=metrics,
        lease=lease,
    )


def _embedded(settings: Settings) -> Engine:
    from service.engine.embedded import EmbeddedEngine, EmbeddedOptions  # noqa: PLC0415 - see build_engine

    return EmbeddedEngine(
        EmbeddedOptions(
            precision=settings.precision,
            streams=settings.streams,
            max_batch_size=settings.max_batch_size,
            cache_dir=_writable(settings.openvino_cache_dir.expanduser()),
        )
    )


def traced(engine: Engine, tracer: Tracer) -> Infer[Target, NDArray[np.uint8], Candidates]:
    """The engine's inference, told to the traces of the requests that each batch is for."""

    async def infer(target: Target, images: Sequence[NDArray[np.uint8]], /, *, deadline: float) -> Sequence[Candidates]:
        with tracer.batch(images, {"model.name": target.model.name, "model.version": target.model.version}):
            return await engine.infer(target, images, deadline=deadline)

    return infer


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        logger.warning("compiled models are not kept for the next start: %s", exc)
        return None
    return folder
