"""What the detector's tests ask it."""

import time
from collections.abc import Awaitable, Callable

import pytest

from service.app import Service
from service.detector import Detected
from service.vision.postprocess import PostprocessOptions


@pytest.fixture(scope="session")
def detect() -> Callable[..., Awaitable[Detected]]:
    """Detects as a transport does: (service, data, timeout_s=, caching=, options of postprocessing)."""

    async def detect(
        service: Service, data: bytes, *, timeout_s: float = 10.0, caching: str = "off", **options: object
    ) -> Detected:
        deadline = time.monotonic() + timeout_s
        with service.detector.place(deadline) as place:
            return await service.detector.detect(
                data,
                service.models.resolve(),
                options=PostprocessOptions(**options),
                deadline=deadline,
                place=place,
                caching=caching,
            )

    return detect


@pytest.fixture(scope="session")
def sample() -> Callable[..., float]:
    """A number of a service's metrics: (service, name without prefix, labels)."""

    def sample(service: Service, name: str, **labels: str) -> float:
        return service.metrics.registry.get_sample_value(f"yolov7_{name}", labels) or 0.0

    return sample
