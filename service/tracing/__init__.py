"""Which request the running code belongs to, and what is known of where its time goes.

    request.py   the id of the request, for log lines
    trace.py     what is noted of a traced request while it is worked on, and which of them a batch is for
    tracer.py    a trace for each request that is to have one
    spans.py     the only one that knows OpenTelemetry: imported where requests are traced, and nowhere else
    delivery.py  spans on their way to a collector, which may be away

Knows no transport, no model and no engine: it is given names, numbers and moments.
"""

from service.tracing.request import begin_request, choose_request_id, current_request_id
from service.tracing.trace import Trace, current_trace, current_traceparent
from service.tracing.tracer import Tracer

__all__ = [
    "Trace",
    "Tracer",
    "begin_request",
    "choose_request_id",
    "current_request_id",
    "current_trace",
    "current_traceparent",
]
