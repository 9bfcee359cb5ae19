"""The composition root: reads Settings, builds everything, starts and stops it."""

from service.app.http import build_application
from service.app.server import serve
from service.app.service import VERSION, Service

__all__ = ["VERSION", "Service", "build_application", "serve"]
