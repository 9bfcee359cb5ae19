"""Narrower files beside a published model.onnx, FP16, INT8 for OpenVINO and INT8 with Q/DQ, and how close they are."""

from training.export.precision.agreement import Agreement
from training.export.precision.files import NarrowFile, write_half, write_integers

__all__ = ["Agreement", "NarrowFile", "write_half", "write_integers"]
