"""The HTTP application: routes, their documentation, and one answer for each kind of error.

It is handed everything that does work; it starts and stops nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.admin import AdminRoutes
from service.api.answer import DetectAnswer, ModelAnswer, ModelsAnswer, ProblemAnswer, StatusAnswer, VersionsAnswer
from service.api.deepstack import (
    CUSTOM,
    CUSTOM_LIST,
    DEFAULT_CONFIDENCE,
    DETECTION,
    DeepStackRoutes,
    VisionAnswer,
    VisionError,
    VisionModels,
)
from service.api.detect import PATH, DetectRoute
from service.api.exchange import Exchange, ExchangeMiddleware
from service.api.intake import TIMEOUT_HEADER
from service.api.playground import add_pages
from service.api.problems import MEDIA_TYPE, TABLE, Problem, describe
from service.api.status import StatusRoutes
from service.api.stream import STREAM_PATH, SUBPROTOCOL, StreamMiddleware, StreamRoute
from service.api.ticket import TICKET_PATH, TicketAnswer, TicketRoute
from service.detector.options import DetectOptions
from service.errors import Finding, ImageError, InvalidOption, ServiceError
from service.metrics import Metrics
from service.vision.encode import MEDIA_TYPES

DESCRIPTION = """Object detection: post a picture, get boxes.

Boxes are corners in pixels of the upright original. Every error is an RFC 9457 problem document with the request id."""

STREAM_DESCRIPTION = f"""Open it as a WebSocket; subprotocol `{SUBPROTOCOL}`, if any. The first message is JSON:
`{{"type": "open", "options": {{…}}, "delivery": "latest" | "every"}}`, the options as of POST /v1/detect. Then each
picture is one binary message, numbered from 0, and each is answered by one JSON message, in their order: `result`,
`dropped` or `error`. `{{"type": "end"}}` ends it. `docs/websocket.md` describes every message and every end."""


# For the documentation, which then has a place for the key: service.api.door reads it.
KEY = [
    Security(HTTPBearer(auto_error=False, description="An API key, where the service has a keys file.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key, in a header of its own.")),
]


@dataclass(frozen=True, slots=True)
class Routes:
    """What answers, by group."""

    detect: DetectRoute
    deepstack: DeepStackRoutes
    stream: StreamRoute
    ticket: TicketRoute
    status: StatusRoutes
    admin: AdminRoutes


class DetectMiddleware:
    """Answers POST /v1/detect before FastAPI's machinery is entered, which would cost as much as a cache hit does."""

    def __init__(self, app: ASGIApp, route: DetectRoute) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            await self._route(scope, receive, send)
        except (ServiceError, ImageError) as error:
            await _answer(Request(scope, receive), describe(error))(scope, receive, send)


def build_api(routes: Routes, metrics: Metrics, *, version: str, draining: Callable[[], bool]) -> FastAPI:
    """The ASGI application."""
    # Its own pages for the documentation load their scripts from other hosts.
    api = FastAPI(title="yolov7-service", version=version, description=DESCRIPTION, docs_url=None, redoc_url=None)
    # The last one added is the outermost.
    api.add_middleware(StreamMiddleware, route=routes.stream)
    api.add_middleware(DetectMiddleware, route=routes.detect)
    api.add_middleware(ExchangeMiddleware, metrics=metrics, draining=draining)
    for kind in (ServiceError, ImageError):
        api.add_exception_handler(kind, _answer_error)
    api.add_exception_handler(HTTPException, _answer_http_exception)
    api.add_exception_handler(RequestValidationError, _answer_validation_error)
    # Here for the documentation and for other methods' 405: DetectMiddleware answers first.
    api.add_api_route(
        PATH, _document_only, methods=["POST"], summary="Detect objects in one image", dependencies=KEY,
        name="detect", tags=["detection"], response_model=DetectAnswer, openapi_extra=_detect_request(),
        responses=_pictures() | _problems(*{status for status, _, _ in TABLE.values() if status not in (409, 499)}),
    )  # fmt: skip
    _add_stream(api, routes)
    _add_deepstack(api, routes.deepstack)
    _add_models(api, routes)
    _add_operation(api, routes)
    add_pages(api)
    return api


def _add_stream(api: FastAPI, routes: Routes) -> None:
    ticket = {"name": "ticket", "in": "query", "schema": {"type": "string"}, "description": "For who sends no headers."}
    api.add_api_route(
        TICKET_PATH, routes.ticket.issue, methods=["POST"], summary="A ticket that opens a stream", tags=["stream"],
        response_model=TicketAnswer, responses=_problems(401, 403), dependencies=KEY,
    )  # fmt: skip
    api.add_api_route(
        STREAM_PATH, routes.stream.refuse, methods=["GET"], summary="Frames of a camera, over a WebSocket",
        tags=["stream"], description=STREAM_DESCRIPTION, status_code=101, openapi_extra={"parameters": [ticket]},
        responses=_problems(400, 401, 403, 404, 426, 503), dependencies=KEY,
    )  # fmt: skip


def _add_deepstack(api: FastAPI, routes: DeepStackRoutes) -> None:
    binary, text = {"type": "string", "format": "binary"}, {"type": "string"}
    options = {
        "min_confidence": {
            "type": "number", "minimum": 0, "maximum": 1, "default": DEFAULT_CONFIDENCE,
            "description": "Predictions below it are left out.",
        },
        "classes": text | {"description": "Names or ids of the classes wanted, comma-separated; all where absent."},
        "api_key": text | {"description": "The API key, for who sends none in a header."},
    }  # fmt: skip
    form = {"type": "object", "required": ["image"], "properties": {"image": binary, **options}}
    body = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}
    refused = {status for status, _, _ in TABLE.values() if status not in (406, 409, 499)}
    errors = {status: {"description": HTTPStatus(status).phrase, "model": VisionError} for status in sorted(refused)}

    def add(path: str, endpoint: Callable[..., Any], summary: str, *methods: str, **more: Any) -> None:
        api.add_api_route(path, endpoint, methods=list(methods), summary=summary, tags=["deepstack"], **more)

    detects: dict[str, Any] = {"response_model": VisionAnswer, "responses": errors, "openapi_extra": body}
    detects["dependencies"] = KEY
    add(DETECTION, routes.detection, "Detect objects, as DeepStack does", "POST", **detects)
    # Before the models, one of which it would be taken for.
    add(CUSTOM_LIST, routes.custom_list, "Names of the models, as CodeProject.AI has it", "POST",
        response_model=VisionModels)  # fmt: skip
    add(CUSTOM, routes.custom, "Detect objects with one model, as DeepStack does", "POST", **detects)


def _add_models(api: FastAPI, routes: Routes) -> None:
    def add(path: str, endpoint: Callable[..., Any], method: str, summary: str, **more: Any) -> None:
        api.add_api_route(path, endpoint, methods=[method], summary=summary, tags=["models"], **more)

    add("/v1/models", routes.status.models, "GET", "What is served", response_model=ModelsAnswer)
    add("/v1/models/{name}", routes.status.model, "GET", "One model and its versions", response_model=VersionsAnswer,
        responses=_problems(404, 422, 503))  # fmt: skip
    problems = _problems(401, 403, 404, 409, 422, 503)
    changes = {"response_model": ModelAnswer, "responses": problems, "dependencies": KEY}
    add("/v1/models/{name}/load", routes.admin.load, "POST", "Load a version (admin)", **changes)
    add("/v1/models/{name}/promote", routes.admin.promote, "POST", "Make a version current (admin)", **changes)
    add("/v1/models/{name}/unload", routes.admin.unload, "POST", "Free a version (admin)", status_code=204,
        responses=problems, dependencies=KEY)  # fmt: skip


def _add_operation(api: FastAPI, routes: Routes) -> None:
    def add(path: str, endpoint: Callable[..., Any], summary: str, **more: Any) -> None:
        api.add_api_route(path, endpoint, methods=["GET"], summary=summary, tags=["operation"], **more)

    add("/livez", routes.status.livez, "Is the process alive", response_model=StatusAnswer)
    add("/readyz", routes.status.readyz, "Would a request be answered", response_model=StatusAnswer,
        responses=_problems(503))  # fmt: skip
    add("/metrics", routes.status.metrics, "Prometheus series", response_class=PlainTextResponse)


async def _document_only() -> None:
    raise AssertionError("the middleware answers first")


def _pictures() -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(MEDIA_TYPES, binary)}}


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError | ImageError)
    return _answer(request, describe(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """404, 405 and what else the router raises by itself."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    headers = tuple((error.headers or {}).items())
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(request, Problem(error.status_code, title.lower().replace(" ", "-"), title, detail, headers=headers))


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    pointed = [("/" + "/".join(map(str, found["loc"][1:])), str(found["msg"])) for found in error.errors()]
    return _answer(request, describe(InvalidOption(*(Finding(*pair) for pair in pointed))))


def _answer(request: Request, problem: Problem) -> Response:
    exchange = Exchange.of(request)
    exchange.error = problem.name
    return problem.response(exchange.request_id, request.url.path)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": ProblemAnswer.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)}


def _detect_request() -> dict[str, Any]:
    """What FastAPI cannot see, as the route reads its request itself."""
    options = DetectOptions.model_json_schema()["properties"]
    parameters = [
        {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
        for name, schema in options.items()
    ]
    deadline = {"name": TIMEOUT_HEADER, "in": "header", "schema": {"type": "integer", "minimum": 1}}
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary, **options}}
    encoded = {"type": "string", "contentEncoding": "base64"}
    return {
        "parameters": [*parameters, {**deadline, "description": "Milliseconds from now to the deadline; capped."}],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": binary},
                "application/json": {
                    "schema": {"type": "object", "required": ["image"], "properties": {"image": encoded}},
                    "example": {"image": "/9j/4AAQSkZJRgABAQ..."},
                },
            },
        },
    }
