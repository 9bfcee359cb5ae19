"""Which keys are valid now: the ring that was read, and the one in force, which follows its file.

Tokens are compared by their digests, with every key of the ring and in constant time, so that how long an answer takes
says nothing of which keys there are.
"""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.access.client import ANONYMOUS, Client
from service.access.keyfile import read_keys
from service.access.token import HINT, MOST_CHARACTERS, digest_token
from service.errors import SettingsError, Unauthenticated
from service.metrics import Metrics

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0


class KeyRing:
    """A fixed set of keys, or none at all: then the service is open, and everybody may detect and nothing more."""

    def __init__(self, clients: tuple[Client, ...] | None) -> None:
        self._clients = clients

    @classmethod
    def open(cls) -> "KeyRing":
        """The ring of a service without keys."""
        return cls(None)

    @classmethod
    def from_file(cls, path: Path) -> "KeyRing":
        """The keys of a file (service.access.keyfile). Raises SettingsError with one line."""
        return cls(read_keys(path))

    def authenticate(self, token: str | None) -> Client:
        """Whose token it is; any text may be asked for. Raises Unauthenticated. An open ring asks for none."""
        if self._clients is None:
            return ANONYMOUS
        if token is None:
            raise Unauthenticated(f"a key is needed; {HINT}")
        found: Client | None = None
        if len(token) <= MOST_CHARACTERS:
            digest = digest_token(token)
            for client in self._clients:  # to the end, whatever was found
                if hmac.compare_digest(client.digest, digest):
                    found = client
        if found is None:
            raise Unauthenticated("the key is not known")
        return found

    def find(self, name: str) -> Client | None:
        """Whose key has this name."""
        found: Client | None = None
        for client in self._clients or ():  # to the end, as above
            if hmac.compare_digest(client.name.encode(), name.encode()):
                found = client
        return found

    def renew(self, client: Client) -> Client:
        """A client by what its key says now. Raises Unauthenticated where that is gone, or its name another's."""
        if self._clients is None:
            return client
        found = self.find(client.name)
        if found is None or not hmac.compare_digest(found.digest, client.digest):
            raise Unauthenticated("the key is not valid any more")
        return found

    @property
    def rated(self) -> bool:
        """Whether any key sets a rate of its own."""
        return any(client.rate for client in self._clients or ())

    def __len__(self) -> int:
        return len(self._clients or ())


class Keys:
    """The ring in force. Reads its file again when that changes, so that keys rotate without a restart.

    The file is looked at when a token is asked for, at most once a second, on the event loop: one stat. A file that
    has become wrong changes nothing but the log and a counter. Raises SettingsError where the first reading fails.
    """

    def __init__(self, path: Path | None, *, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._metrics = metrics
        self._clock = clock
        self._stamp = _stamp(path)
        self._ring = KeyRing.open() if path is None else KeyRing.from_file(path)
        self._checked_at = clock()

    def authenticate(self, token: str | None) -> Client:
        """As KeyRing.authenticate, by the file as it is now."""
        self._follow_when_due()
        return self._ring.authenticate(token)

    def find(self, name: str) -> Client | None:
        """As KeyRing.find, by the file as it is now."""
        self._follow_when_due()
        return self._ring.find(name)

    def renew(self, client: Client) -> Client:
        """As KeyRing.renew, by the file as it is now."""
        self._follow_when_due()
        return self._ring.renew(client)

    @property
    def required(self) -> bool:
        """False at a service without keys, where everybody may detect."""
        return self._path is not None

    @property
    def rated(self) -> bool:
        """As KeyRing.rated, by the file as it was read last."""
        return self._ring.rated

    def _follow_when_due(self) -> None:
        now = self._clock()
        if self._path is not None and now - self._checked_at >= CHECK_INTERVAL_S:
            self._checked_at = now
            self._follow(self._path)

    def _follow(self, path: Path) -> None:
        stamp = _stamp(path)  # before reading: what is written meanwhile is seen next time
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._ring = KeyRing.from_file(path)
        except SettingsError as exc:
            self._metrics.errors.labels("keys").inc()
            logger.error("%s; the %d keys read before stay valid", exc, len(self._ring))
        else:
            logger.info("keys file read again: %d keys", len(self._ring))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
