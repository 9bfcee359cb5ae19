"""How log lines look: plain text, or one JSON object each. Every line of a request carries its id."""

import json
import logging
import sys
import time
from typing import Any

from service.tracing import current_request_id

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# What every record has; the rest was given by whoever logged. uvicorn gives its message twice, once for a terminal.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """time (RFC 3339, UTC), level, logger, message, request_id; whatever `extra` gave; exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        moment = time.gmtime(record.created)
        document: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_request_id():
            document["request_id"] = request_id
        document |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """The usual line, with the request's id at its end where there is one; a traceback comes below."""

    def format(self, record: logging.LogRecord) -> str:
        """As logging.Formatter."""
        line = super().format(record)
        request_id = current_request_id()
        if not request_id:
            return line
        first, separator, rest = line.partition("\n")
        return f"{first} id={request_id}{separator}{rest}"


def configure_logging(level: str, form: str) -> None:
    """Once per process, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
