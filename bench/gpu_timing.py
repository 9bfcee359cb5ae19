"""How bench/gpu.py takes time: by the GPU's own clock for engines, by the wall's where the host has a part."""

import statistics
import time
from collections.abc import Callable
from typing import Protocol

import torch
from gpu_engines import Engine

_LONE_RUNS = 20
_TRIAL = 3


def synchronise(device: torch.device) -> None:
    """Wait for all that was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def queued_seconds(run: Callable[[], None], count: int, device: torch.device) -> float:
    """How long ``count`` runs take that are queued one behind the other."""
    if device.type != "cuda":
        started = time.perf_counter()
        for _ in range(count):
            run()
        return time.perf_counter() - started
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def lone_seconds(run: Callable[[], None], device: torch.device, runs: int = _LONE_RUNS) -> float:
    """How long one run takes from call to result, the device idle before it: the median, by the wall clock."""
    taken = []
    for _ in range(runs):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


class Rounds(Protocol):
    """Called once per round: the milliseconds of a batch among many; ``lone_ms`` notes those of a batch alone."""

    engine: Engine
    lone_ms: list[float]

    def __call__(self) -> float:
        """One round."""
        ...

    def close(self) -> None:
        """After the last round."""
        ...


class EngineRounds:
    """Rounds of an engine alone."""

    def __init__(self, engine: Engine, device: torch.device, seconds: float) -> None:
        self.engine = engine
        self._device, self._seconds = device, seconds
        self._count = 0
        self.lone_ms: list[float] = []

    def __call__(self) -> float:
        """One round of about ``seconds``."""
        if not self._count:
            once = queued_seconds(self.engine.run, _TRIAL, self._device) / _TRIAL
            self._count = max(_TRIAL, round(self._seconds / once))
        lone = lone_seconds(self.engine.run, self._device, min(_LONE_RUNS, self._count))
        self.lone_ms.append(1e3 * lone)
        return 1e3 * queued_seconds(self.engine.run, self._count, self._device) / self._count

    def close(self) -> None:
        """See Rounds."""
