"""A clock that is moved by hand, and a Redis that these tests may kill and pause."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture(scope="session")
def redis_process(redis_server: Callable[[], Any]) -> Any:
    """One for all of these tests, each with keys of its own."""
    return redis_server()
