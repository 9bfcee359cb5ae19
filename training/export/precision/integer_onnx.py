"""INT8 as ONNX with explicit Q/DQ nodes by ONNX Runtime's quantiser: what TensorRT 10 and 11 take.

TensorRT wants zero points of 0, signed bytes, scales per output channel for weights, and no Q/DQ between a convolution
and its activation, which it fuses. Only what convolutions read is quantised. Ranges are percentiles of histograms.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from training.config import Quantisation
from training.evaluate.progress import shown
from training.export.precision.anatomy import Anatomy, widen_kernels
from training.export.precision.calibration import Calibration
from training.export.session import INPUT


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # an untyped base
    """Feeds ONNX Runtime, range after range of images, of which it takes all before it looks at any."""

    def __init__(self, images: Calibration) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(shown(images, len(images), "ranges"))
        self._count = len(images)
        self._left = 0

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        """The next range; they follow one another."""
        self._left = end_index - start_index

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        if not self._left:
            return None
        self._left -= 1
        return {INPUT: next(self._images)}


def quantise_onnx(model: ModelProto, out: Path, anatomy: Anatomy, recipe: Quantisation, images: Calibration) -> None:
    """Write ``out``, from ``model`` as exported, which stays as it is. Raises DatasetError, ExportError."""
    copied = ModelProto()
    copied.CopyFrom(model)
    widen_kernels(copied)
    wide = [*anatomy.decode, *anatomy.chosen(recipe.wide)]
    options: dict[str, Any] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,  # TensorRT takes float biases, and knows no integer ones in Q/DQ form
        "OpTypesToExcludeOutputQuantization": ["Conv"],
        "CalibPercentile": recipe.percentile,
        # Histograms are joined image by image: all activations of all images would not fit into memory, and images of
        # two input shapes not into one array.
        "CalibStridedMinMax": 1,
    }
    with _quiet():
        quantize_static(
            copied,
            out,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=wide,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options=options,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime prints a line for each image, and asks for a preparation that knows no symbolic shapes like ours."""
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
