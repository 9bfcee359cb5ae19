"""Average precision: detections by the protocol that serves, scored the COCO way."""

from training.evaluate.endpoint import EndpointError, detect_endpoint
from training.evaluate.score import ClassScore, Evaluation, score
from training.evaluate.served import Infer, detect, max_candidates, torch_infer

__all__ = [
    "ClassScore",
    "EndpointError",
    "Evaluation",
    "Infer",
    "detect",
    "detect_endpoint",
    "max_candidates",
    "score",
    "torch_infer",
]
