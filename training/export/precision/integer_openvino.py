"""INT8 for OpenVINO by NNCF: an .xml with its .bin, ranges of activations learnt, biases corrected.

OpenVINO reads ONNX with Q/DQ nodes too, but 2026.4 answers wrongly there or does not compile, so its own format it is.
NNCF is untyped and met here only. It is told to send nothing to anyone.
"""

import logging
import os
from pathlib import Path
from typing import Any

import openvino as ov

from training.config import Quantisation
from training.export.openvino_session import openvino_line
from training.export.precision.anatomy import Anatomy
from training.export.precision.calibration import Calibration
from training.export.session import INPUT, ExportError

_RANGES = {
    "mean-min-max": "MEAN_MINMAX",
    "min-max": "MINMAX",
    "quantile": "MEAN_QUANTILE",
    "histogram": "HISTOGRAM",
}


def quantise_openvino(onnx: Path, out: Path, anatomy: Anatomy, recipe: Quantisation, images: Calibration) -> None:
    """Write ``out`` (.xml) and the .bin beside it. Raises DatasetError, ExportError."""
    nncf = _nncf()
    graph = ov.Core().read_model(onnx)
    ranges = getattr(nncf.quantization.range_estimator.RangeEstimatorParametersSet, _RANGES[recipe.ranges])
    preset = "mixed" if recipe.activations == "mixed" else "performance"
    wide = [*anatomy.decode, *(name for node in anatomy.chosen(recipe.wide) for name in _both(node))]
    try:
        quantised = nncf.quantize(
            graph,
            nncf.Dataset(images, lambda image: {INPUT: image}),
            preset=nncf.QuantizationPreset(preset),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=wide, validate=False),  # constants are folded away by then
            advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
        )
    except (RuntimeError, nncf.ValidationError) as exc:
        raise ExportError(f"NNCF does not quantise {onnx}: {openvino_line(exc)}") from exc
    ov.save_model(quantised, out)


def _both(node: str) -> tuple[str, str]:
    """OpenVINO's names of a convolution and of the addition of its bias, which in ONNX are one node."""
    return f"{node}/WithoutBiases", node


def _nncf() -> Any:
    # Otherwise it tells a server that it is used, unless openvino-telemetry was told not to.
    os.environ["NNCF_CI"] = "1"
    import nncf  # noqa: PLC0415 - the variable must be set first, and few commands need it
    import nncf.quantization.range_estimator  # noqa: PLC0415

    nncf.set_log_level(logging.WARNING)
    return nncf
