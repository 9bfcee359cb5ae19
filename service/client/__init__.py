"""The Python client, for machines that serve nothing: `pip install 'yolov7-service[client]'`.

Needs NumPy, simplejpeg, httpx, gRPC and protobuf, and of the service only its wire. What is decided stands in plain
functions and values (web, options, picture, retry, session, frames, rpc), which the client for threads and the one for
an event loop share; these two do nothing but I/O.

These are more names than other packages show, because they are all that a user of the library needs.
"""

from service.client.async_client import AsyncClient
from service.client.client import Client
from service.client.errors import (
    ClientError,
    ConnectionFailed,
    RequestRefused,
    ServiceFailed,
    ServiceUnavailable,
    TimedOut,
)
from service.client.frames import Frame
from service.client.results import Detections, FrameFailed, FrameResult, FramesDropped, Result
from service.client.retry import Retries

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Detections",
    "Frame",
    "FrameFailed",
    "FrameResult",
    "FramesDropped",
    "RequestRefused",
    "Result",
    "Retries",
    "ServiceFailed",
    "ServiceUnavailable",
    "TimedOut",
]
