"""The promotion gate: a staged model is served as it will be, measured, and published only if it lost too little."""

from training.export.gate.promote import Promotion, promote
from training.export.gate.request import Request
from training.export.gate.verdict import Bounds

__all__ = ["Bounds", "Promotion", "Request", "promote"]
