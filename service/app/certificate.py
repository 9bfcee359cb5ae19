"""The TLS certificate that HTTP and gRPC serve with: read and checked at the start, and followed when it is renewed.

New connections get the new one; those that are open keep what they have.
"""

import logging
import ssl
from pathlib import Path

import grpc

from service.errors import StartError
from service.metrics import Metrics

logger = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """`chain` and `key` are PEM files. Raises StartError where they cannot be read, or do not belong together."""

    def __init__(self, chain: Path, key: Path, *, metrics: Metrics) -> None:
        self._chain = chain
        self._key = key
        self._metrics = metrics
        self._stamp = self._now()
        self._https: ssl.SSLContext | None = None
        try:
            self._configuration = self._read()
        except (OSError, ValueError) as exc:
            raise StartError(f"tls_certificate {chain} with tls_key {key}: {_reason(exc)}") from exc

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC, whose threads ask at each new connection which certificate is the latest."""
        given = self._configuration

        def latest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            if self._configuration is given:
                return None
            given = self._configuration
            return given

        # None is what the library takes for no change; its types do not know.
        return grpc.dynamic_ssl_server_credentials(given, latest)  # type: ignore[arg-type]

    def serve_with(self, context: ssl.SSLContext) -> None:
        """A context of HTTPS that is to have the certificate, now and whenever it changes."""
        context.load_cert_chain(self._chain, self._key, _no_password)
        self._https = context

    def follow(self) -> None:
        """Looks whether the files have changed: two calls of stat. What has become wrong changes nothing but the log.

        One that is written in two steps is wrong in between, and looked at again after the second.
        """
        stamp = self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            configuration = self._read()
            if self._https is not None:
                self.serve_with(self._https)
        except (OSError, ValueError) as exc:
            self._metrics.errors.labels("certificate").inc()
            logger.error("tls_certificate %s: %s; the one read before stays", self._chain, _reason(exc))
        else:
            self._configuration = configuration
            logger.info("the TLS certificate was read again")

    def _read(self) -> grpc.ServerCertificateConfiguration:
        # First, as it says which file is not there.
        pair = self._key.read_bytes(), self._chain.read_bytes()
        # gRPC would say only at the first connection that something is wrong.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key, _no_password)
        return grpc.ssl_server_certificate_configuration([pair])

    def _now(self) -> Stamp:
        return tuple(_stamp(path) for path in (self._chain, self._key))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino


def _no_password() -> str:
    # Asked for, OpenSSL would wait at the terminal.
    raise ValueError("the key needs a password, which nobody could give")


def _reason(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        return f"they are no PEM certificate and key that belong together ({exc.reason or 'nothing was found'})"
    return f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) and exc.strerror else str(exc)
