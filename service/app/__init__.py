"""The composition root: reads Settings, builds everything, starts and stops it."""

from service.app.server import serve
from service.app.service import VERSION, Service, build_application

__all__ = ["VERSION", "Service", "build_application", "serve"]
