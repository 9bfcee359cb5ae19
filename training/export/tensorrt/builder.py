"""TensorRT 10 and 11 through their Python API: the one place that meets it, behind a protocol with types.

Both build a strongly typed network alike: 11 knows no other and ignores the flag that 10 needs. What is INT8 or FP16
says the ONNX file; there is no flag for it here.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training.export.session import INPUT, ExportError
from training.export.tensorrt.profiles import Profile
from training.export.tensorrt.progress import BuildProgress

_MAJORS = ("10", "11")


@dataclass(frozen=True, slots=True)
class Order:
    """What to build. onnx: the file's bytes. timings: an earlier timing cache, empty for none."""

    onnx: bytes
    profiles: Sequence[Profile]
    timings: bytes
    workspace_bytes: int
    optimisation_level: int


@dataclass(frozen=True, slots=True)
class Built:
    """A plan, and the timings of kernels that make the next build faster."""

    plan: bytes
    timings: bytes


class Builder(Protocol):
    """Makes plans for the GPU of this machine.

    ``versions``: tensorrt, architecture (such as 9.0), gpu and driver, as passports name them.
    """

    @property
    def versions(self) -> dict[str, str]:
        """Of what builds, by name."""
        ...

    def build(self, order: Order, progress: BuildProgress) -> Built:
        """Takes minutes. Raises ExportError with what TensorRT complained of first."""
        ...


class TensorrtBuilder:
    """A Builder. Raises ExportError where TensorRT 10 or 11, or a GPU, is missing."""

    def __init__(self) -> None:
        self._trt = _tensorrt()
        self._versions = {"tensorrt": str(self._trt.__version__), **_gpu()}

    @property
    def versions(self) -> dict[str, str]:
        """See Builder."""
        return self._versions

    def build(self, order: Order, progress: BuildProgress) -> Built:
        """See Builder."""
        trt = self._trt
        complaints = _complaints(trt)
        builder = trt.Builder(complaints)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, complaints)
        if not parser.parse(order.onnx):
            raise ExportError(f"TensorRT does not read the ONNX: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_bytes)
        config.builder_optimization_level = order.optimisation_level
        config.progress_monitor = _monitor(trt, progress)
        # Otherwise products of what the graph says is float32 keep 10 bits of 23.
        config.clear_flag(trt.BuilderFlag.TF32)
        # Damaged timings cost time and nothing else.
        timings = config.create_timing_cache(order.timings) or config.create_timing_cache(b"")
        complaints.first = ""
        config.set_timing_cache(timings, ignore_mismatch=False)
        for wanted in order.profiles:
            profile = builder.create_optimization_profile()
            profile.set_shape(INPUT, *wanted.dims)
            config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if progress.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise ExportError(f"TensorRT builds no plan: {complaints.first}")
        return Built(bytes(plan), bytes(config.get_timing_cache().serialize()))


def _tensorrt() -> Any:
    try:
        import tensorrt  # noqa: PLC0415 - only NVIDIA's images have it, and only this command needs it
    except ImportError as exc:
        raise ExportError(
            f"TensorRT cannot be imported ({exc}): plans are built inside NVIDIA's image, on the GPU that serves them"
        ) from exc
    if tensorrt.__version__.split(".")[0] not in _MAJORS:
        raise ExportError(f"TensorRT {tensorrt.__version__} is none of {' and '.join(_MAJORS)}")
    return tensorrt


def _gpu() -> dict[str, str]:
    """Ask the driver for the first GPU. Raises ExportError where there is none."""
    names = {"gpu": "name", "driver": "driver_version", "architecture": "compute_cap"}
    command = ["nvidia-smi", f"--query-gpu={','.join(names.values())}", "--format=csv,noheader", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        raise ExportError(f"no NVIDIA GPU to build for: nvidia-smi says nothing ({exc})") from exc
    return dict(zip(names, (part.strip() for part in answer.strip().split(",")), strict=True))


def _complaints(trt: Any) -> Any:
    class Complaints(trt.ILogger):  # type: ignore[misc]  # its base is known only where TensorRT is
        """Keeps the first error that TensorRT logs, which says more than what it returns."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.first = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.first = self.first or message

    return Complaints()


def _monitor(trt: Any, progress: BuildProgress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # its base is known only where TensorRT is
        """Hands on what TensorRT tells. Ctrl-C may come in any of these, and no exception may leave them."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            try:
                progress.phase_start(phase, parent, steps)
            except KeyboardInterrupt:
                progress.interrupt()

        def phase_finish(self, phase: str) -> None:
            try:
                progress.phase_finish(phase)
            except KeyboardInterrupt:
                progress.interrupt()

        def step_complete(self, phase: str, step: int) -> bool:
            try:
                return progress.step_complete(phase, step)
            except KeyboardInterrupt:
                progress.interrupt()
                return False

    return Monitor()
