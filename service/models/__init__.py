"""The models that are served: versions, the known image, readiness."""

from service.models.known import TOLERANCES, compare
from service.models.model import Model
from service.models.models import Models

__all__ = ["TOLERANCES", "Model", "Models", "compare"]
