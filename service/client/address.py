"""Where the service is: one URL, and the gRPC port beside it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

GRPC_PORT = 50051


@dataclass(frozen=True, slots=True)
class Address:
    """`authority` is the PEM of whom both transports trust to vouch for the service; None: those known anyway."""

    url: str
    grpc: str
    tls: bool
    authority: bytes | None = None

    @classmethod
    def of(cls, url: str, *, grpc: str | None = None, ca: str | Path | None = None) -> "Address":
        """`grpc` is host:port; without one, the URL's host and port 50051.

        Raises ValueError for no http(s) URL and for a `ca` without a certificate, OSError where that cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(f"{url!r} is no URL such as http://127.0.0.1:8000")
        if grpc is not None and "://" in grpc:
            raise ValueError("the gRPC address has no scheme: host:port, such as detector:50051")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        authority = Path(ca).read_bytes() if ca is not None else None
        if authority is not None and b"-----BEGIN CERTIFICATE" not in authority:
            # OpenSSL would take nothing for no wish, and trust every public authority.
            raise ValueError(f"{ca} holds no certificate")
        return cls(url, grpc or f"{host}:{GRPC_PORT}", parts.scheme == "https", authority)

    def trust(self) -> ssl.SSLContext | bool:
        """What httpx calls `verify`."""
        if self.authority is None:
            return True
        # Only what is between the certificates, such as a name in a comment, may be anything but ASCII.
        return ssl.create_default_context(cadata=self.authority.decode("ascii", "ignore"))
