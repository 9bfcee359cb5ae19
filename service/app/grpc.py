"""The gRPC server, built from the service and its settings; it starts and stops nothing."""

from service.app.certificate import Certificate
from service.app.service import Service
from service.streams.call import Calls
from service.streams.detection import CallLimits, Detection
from service.streams.door import Door
from service.streams.server import GrpcServer, ServerOptions


def build_grpc(service: Service, certificate: Certificate | None = None) -> GrpcServer:
    """The detector and the streams admit calls; what is beyond all that they could hold is refused before them."""
    settings = service.settings
    # Slow senders have places beside the others.
    most = 2 * settings.max_in_flight + settings.max_streams
    calls = Calls(most, metrics=service.metrics, tracer=service.tracer)
    detection = Detection(
        service.detector,
        service.models,
        service.streams,
        Door(service.keys, service.rates, metrics=service.metrics),
        calls=calls,
        limits=CallLimits(
            max_image_bytes=settings.max_body_bytes,
            receive_timeout_s=settings.body_timeout_s,
            timeout_s=settings.request_timeout_ms / 1000,
            max_timeout_s=settings.max_request_timeout_ms / 1000,
        ),
        metrics=service.metrics,
    )
    options = ServerOptions(
        host=settings.host,
        port=settings.grpc_port,
        reflection=settings.grpc_reflection,
        max_image_bytes=settings.max_body_bytes,
        shares_port=settings.workers > 1,
    )
    return GrpcServer(
        detection,
        calls,
        options=options,
        credentials=certificate.credentials() if certificate else None,
        serving=lambda: not service.reasons(),
        metrics=service.metrics,
    )
