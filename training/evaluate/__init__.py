"""Average precision and what lies behind it: detections by the protocol that serves, scored the COCO way."""

from training.evaluate.endpoint import Endpoint, EndpointError, detect_endpoint
from training.evaluate.examine import Examination, examine
from training.evaluate.score import ClassScore, Evaluation, score
from training.evaluate.served import Infer, detect, max_candidates, torch_infer

__all__ = [
    "ClassScore",
    "Endpoint",
    "EndpointError",
    "Evaluation",
    "Examination",
    "Infer",
    "detect",
    "detect_endpoint",
    "examine",
    "max_candidates",
    "score",
    "torch_infer",
]
