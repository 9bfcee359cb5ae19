"""HTTP: translates requests and answers, and leaves the work to the detector."""

from service.api.application import Routes, build_api
from service.api.detect import DetectRoute, Limits
from service.api.status import StatusRoutes

__all__ = ["DetectRoute", "Limits", "Routes", "StatusRoutes", "build_api"]
