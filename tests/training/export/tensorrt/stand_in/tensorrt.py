"""A stand-in for NVIDIA's module of this name: the part of its interface that plans are built with.

It computes nothing. It holds callers to what the documentation of TensorRT 10 and 11 promises: a network must be
strongly typed, each profile must fit the input, an interrupted build returns None. ``asked`` is what was asked of it.
"""

import enum
from collections.abc import Callable
from typing import Any

__version__ = "10.7.0"
asked: dict[str, Any] = {}
# What happens during a build, given the monitor; what it returns decides whether the build goes on.
during: list[Callable[[Any], bool]] = []


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    TF32 = 6


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def __init__(self) -> None:
        self.initialised = True


class IProgressMonitor:
    def __init__(self) -> None:
        self.initialised = True


class _ParserError:
    def desc(self) -> str:
        return "no ONNX at all"


class OnnxParser:
    def __init__(self, network: int, logger: ILogger) -> None:
        assert network == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED

    def parse(self, onnx: bytes) -> bool:
        asked["onnx"] = onnx
        return onnx != b"bad"

    def get_error(self, index: int) -> _ParserError:
        return _ParserError()


class _TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"+"


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        assert all(low <= middle <= high for low, middle, high in zip(least, best, most, strict=True))
        self.shapes[name] = (least, best, most)


class _Config:
    builder_optimization_level = 3
    progress_monitor: IProgressMonitor | None = None

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[_Profile] = []
        self.pools: dict[MemoryPoolType, int] = {}

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, data: bytes) -> _TimingCache | None:
        if data == b"damaged":
            asked["logger"].log(ILogger.Severity.ERROR, "the timing cache is damaged")
            return None
        return _TimingCache(data)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache:
        return self.cache

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Builder:
    def __init__(self, logger: ILogger) -> None:
        assert logger.initialised
        asked["logger"] = logger

    def create_network(self, flags: int) -> int:
        return flags

    def create_builder_config(self) -> _Config:
        asked["config"] = _Config()
        return asked["config"]

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: int, config: _Config) -> bytes | None:
        monitor = config.progress_monitor
        assert monitor.initialised
        monitor.phase_start("Building Engine", None, 2)
        goes_on = monitor.step_complete("Building Engine", 0) and all(step(monitor) for step in during)
        monitor.phase_finish("Building Engine")
        return b"plan" if goes_on else None
