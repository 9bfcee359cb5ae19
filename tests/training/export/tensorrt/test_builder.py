"""How plans are built, against a stand-in of TensorRT's interface and of nvidia-smi: no GPU is needed, or asked."""

import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from training.__main__ import main
from training.export.precision import write_half
from training.export.session import ExportError
from training.export.tensorrt.builder import Built, Order, TensorrtBuilder
from training.export.tensorrt.profiles import profiles_for
from training.export.tensorrt.progress import BuildProgress

SMI = '#!/bin/sh\ncase "$*" in *compute_cap*--id=0*) echo "NVIDIA L4, 560.35.03, 8.9";; *) exit 1;; esac\n'
ORDER = Order(b"onnx", profiles_for(((64, 96),), (1, 8)), b"timings", 1 << 30, 5)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """A machine that has TensorRT and a GPU, as far as can be seen from here."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "stand_in")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(SMI)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    yield importlib.import_module("tensorrt")
    del sys.modules["tensorrt"]


def built(order: Order = ORDER) -> Built:
    return TensorrtBuilder().build(order, BuildProgress(Console(file=io.StringIO())))


def test_it_says_for_what_it_builds(trt: ModuleType) -> None:
    expected = {"tensorrt": "10.7.0", "gpu": "NVIDIA L4", "driver": "560.35.03", "architecture": "8.9"}
    assert TensorrtBuilder().versions == expected


def test_the_network_is_built_as_ordered(trt: ModuleType) -> None:
    assert built() == Built(b"plan", b"timings+")
    config = trt.asked["config"]
    assert trt.asked["onnx"] == b"onnx"
    assert [profile.shapes["images"] for profile in config.profiles] == [one.dims for one in ORDER.profiles]
    assert (config.builder_optimization_level, list(config.pools.values())) == (5, [1 << 30])
    assert config.flags == set()  # float32 stays float32


def test_damaged_timings_cost_time_only(trt: ModuleType) -> None:
    assert built(Order(b"onnx", ORDER.profiles, b"damaged", 1 << 30, 3)) == Built(b"plan", b"+")


def test_the_first_complaint_is_what_is_told(trt: ModuleType) -> None:
    severity = trt.ILogger.Severity

    def complain(monitor: Any) -> bool:
        for level, text in ((severity.WARNING, "slow"), (severity.ERROR, "no tactic"), (severity.ERROR, "gave up")):
            trt.asked["logger"].log(level, text)
        return False

    trt.during.append(complain)
    with pytest.raises(ExportError, match=r"^TensorRT builds no plan: no tactic$"):
        built(Order(b"onnx", ORDER.profiles, b"damaged", 1 << 30, 3))


def test_what_is_no_onnx_is_told(trt: ModuleType) -> None:
    with pytest.raises(ExportError, match=r"^TensorRT does not read the ONNX: no ONNX at all$"):
        built(Order(b"bad", ORDER.profiles, b"", 1 << 30, 3))


def test_ctrl_c_ends_the_build(trt: ModuleType) -> None:
    class Interrupted(BuildProgress):
        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TensorrtBuilder().build(ORDER, Interrupted(Console(file=io.StringIO())))


@pytest.mark.parametrize("version", ["8.6.1", "12.0.0"])
def test_a_release_that_is_not_known_is_refused(trt: ModuleType, version: str) -> None:
    trt.__version__ = version
    with pytest.raises(ExportError, match=rf"^TensorRT {version} is none of 10 and 11$"):
        TensorrtBuilder()


def test_a_machine_without_a_gpu_is_refused(trt: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(ExportError, match="no NVIDIA GPU to build for"):
        TensorrtBuilder()


def test_the_command_builds_a_repository(
    trt: ModuleType, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = write_half(model).path
    assert main(["compile", "--repository", str(tmp_path / "plans"), str(half), "--batches", "1", "4"]) == 0
    assert (tmp_path / "plans" / "small" / "1" / "model.fp16.plan").read_bytes() == b"plan"
    assert "4 profiles" in (printed := capsys.readouterr().out)
    assert "tensorrt 10.7.0" in printed
