"""From a checkpoint to a published model: ONNX, its checks, the model repository, the model card."""

from training.export.publish import ExportReport, export_checkpoint
from training.export.session import ExportError

__all__ = ["ExportError", "ExportReport", "export_checkpoint"]
