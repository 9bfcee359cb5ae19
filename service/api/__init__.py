"""HTTP: translates requests and answers, and leaves the work to the detector."""

from service.api.admin import AdminRoutes
from service.api.application import Routes, build_api
from service.api.deepstack import DeepStackRoutes
from service.api.detect import DetectRoute
from service.api.door import Door
from service.api.intake import Intake, Limits
from service.api.status import StatusRoutes

__all__ = [
    "AdminRoutes",
    "DeepStackRoutes",
    "DetectRoute",
    "Door",
    "Intake",
    "Limits",
    "Routes",
    "StatusRoutes",
    "build_api",
]
