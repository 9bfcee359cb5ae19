"""The HTTP application of a service: what answers, given what it needs."""

from fastapi import FastAPI

from service.api import (
    AdminRoutes,
    DeepStackRoutes,
    DetectRoute,
    Door,
    Intake,
    Limits,
    Routes,
    StatusRoutes,
    build_api,
)
from service.api.stream import StreamRoute
from service.api.stream_origin import Origins
from service.api.ticket import TicketRoute
from service.api.trace import TraceMiddleware
from service.app.service import VERSION, Service


def build_application(service: Service) -> FastAPI:
    """The ASGI application; it starts and closes nothing."""
    settings = service.settings
    limits = Limits(
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        timeout_s=settings.request_timeout_ms / 1000,
        max_timeout_s=settings.max_request_timeout_ms / 1000,
    )
    door = Door(service.keys, service.rates, metrics=service.metrics)
    intake = Intake(service.detector, limits=limits, threads=service.threads)
    routes = Routes(
        detect=DetectRoute(service.detector, service.models, door, intake=intake, metrics=service.metrics),
        deepstack=DeepStackRoutes(service.detector, service.models, door, intake=intake, metrics=service.metrics),
        stream=StreamRoute(
            service.streams,
            door,
            origins=Origins(settings.allowed_origins.split(",")),
            metrics=service.metrics,
            draining=lambda: service.draining,
        ),
        ticket=TicketRoute(door),
        status=StatusRoutes(service.models, service.metrics, service.reasons),
        admin=AdminRoutes(service.models, door),
    )
    api = build_api(routes, service.metrics, version=VERSION, draining=lambda: service.draining)
    if service.tracer is not None:
        api.add_middleware(TraceMiddleware, tracer=service.tracer)
    return api
