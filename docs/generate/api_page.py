"""docs/reference/api.md: every interface of the service, from its OpenAPI document, its tables and its .proto."""

from calls import PROTO, Proto
from headers import ANSWERED, GIVEN
from markup import code, plain, table
from messages import ends, from_clients, from_service
from problems import problem_example, problems
from routes import contents, openapi, routes, schemas

from service.api.answer import ProblemAnswer
from service.api.problems import TYPE_PREFIX
from service.api.stream import STREAM_PATH, SUBPROTOCOL

HEAD = """# Interfaces

What may be asked of a running service: [HTTP](#http), [WebSocket](#websocket), [gRPC](#grpc), with the same
[errors](#errors) everywhere. The service itself shows its HTTP part at `/docs`, and as OpenAPI at `/openapi.json`, for
both of which it needs no other host; at `/` it has a page to try it on. Its series are in [metrics.md](../metrics.md).
This page is written from the code by `make reference`.

Boxes are corners in pixels of the upright original, x to the right, y down. Where there is a keys file, what takes a
key needs one: in `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`, over gRPC in metadata of the same names. To
change models needs a key with the right `admin`, keys file or not; all else the right `detect`.

## HTTP

"""
WEBSOCKET = f"""## WebSocket

`GET {STREAM_PATH}`, upgraded, with the subprotocol `{SUBPROTOCOL}` or none. Texts are JSON, a picture is one binary
message. How a stream goes, and who may open one, is in [websocket.md](../websocket.md); here is every field.

### Messages of a client

"""
GRPC = f"""## gRPC

The package `yolov7.v1` of `{PROTO}`, from which clients are generated; beside it `grpc.health.v1.Health`, and
reflection unless it is switched off. Statuses are in the table of [errors](#errors); their details are
`google.rpc.ErrorInfo`, whose reason is the problem's name, `RequestInfo`, `RetryInfo` where another try may help, and
`BadRequest` with each finding. `x-request-id` is in the trailers.

"""
ERRORS = f"""## Errors

Over HTTP a problem document of RFC 9457, whose `type` is `{TYPE_PREFIX}` and the name below; over a
WebSocket the same in a message; over gRPC a status. Below `/v1/vision` it has DeepStack's form. What is 502 or 503 may
succeed when it is tried again; what is 4xx fails again, but for 408 and 429.

"""


def page() -> str:
    """The text of docs/reference/api.md."""
    document = openapi()
    parts = (
        HEAD,
        contents(document),
        "### Headers of requests\n\n",
        table(("header", ""), ((code(name), plain(text)) for name, text in GIVEN.items())),
        "### Headers of answers\n\n",
        table(("header", ""), ((code(name), plain(text)) for name, text in ANSWERED.items())),
        routes(document),
        "### Objects\n\n",
        schemas(document, ProblemAnswer.model_json_schema()),
        problem_example(),
        WEBSOCKET,
        from_clients(),
        "### Messages of the service\n\n",
        from_service(),
        "### Ends\n\n",
        ends(),
        GRPC,
        Proto().text(),
        ERRORS,
        problems(),
    )
    return "".join(parts).rstrip() + "\n"
