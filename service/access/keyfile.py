"""The keys file: TOML in, keys out, or one line that says what is wrong with it.

    [[key]]
    name = "door"
    sha256 = "…"                 # of the token; `yolov7-service key` prints both
    rights = ["detect"]          # detect, admin
    rate = "20/second"           # optional

Names are unique. To rotate a key, add a second entry under a new name, move the clients over, and remove the first.
Nothing here says a value of `sha256` back: somebody may have put the token itself there.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.access.client import ANONYMOUS, RIGHTS, Client, Right
from service.access.rate import Rate
from service.access.token import digest_token, new_token
from service.errors import SettingsError

# The file is read on the event loop, so it stays small: room for thousands of keys.
MOST_BYTES = 1024 * 1024
FIELDS = ("name", "sha256", "rights", "rate")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def read_keys(path: Path) -> tuple[Client, ...]:
    """Whose keys there are, in the order of the file. Raises SettingsError with one line."""
    try:
        return _keys(_document(path))
    except SettingsError as exc:
        raise SettingsError(f"keys file {path}: {exc}") from exc


def new_key(name: str, rights: Sequence[str], rate: str | None = None) -> tuple[str, str]:
    """A new token and the entry that makes it valid, as TOML text. Raises SettingsError with one line.

    The token is nowhere else: who loses it makes another.
    """
    token = new_token()
    entry: dict[str, object] = {"name": name, "sha256": digest_token(token).hex(), "rights": list(rights)}
    if rate is not None:
        entry["rate"] = rate
    _client(entry)
    # What has been checked is plain text without quotes, and that TOML writes as JSON does.
    lines = [f"{field} = {json.dumps(value)}" for field, value in entry.items()]
    return token, "\n".join(["[[key]]", *lines, ""])


def _document(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise SettingsError(exc.strerror or type(exc).__name__) from exc
    if len(data) > MOST_BYTES:
        raise SettingsError(f"larger than {MOST_BYTES} bytes")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"not TOML: {exc}") from exc


def _keys(document: Mapping[str, Any]) -> tuple[Client, ...]:
    _refuse_unknown(document, ("key",))
    entries = document.get("key")
    if not isinstance(entries, list) or not entries:
        raise SettingsError("holds no [[key]]")
    clients: dict[str, Client] = {}
    digests: set[bytes] = set()
    for number, entry in enumerate(entries, 1):
        try:
            client = _client(entry)
            if client.name in clients:
                raise SettingsError(f"the name {client.name!r} is taken")
            if client.digest in digests:
                raise SettingsError(f"{client.name!r} has the sha256 of another key")
        except SettingsError as exc:
            raise SettingsError(f"key {number}: {exc}") from exc
        clients[client.name] = client
        digests.add(client.digest)
    return tuple(clients.values())


def _client(entry: object) -> Client:
    if not isinstance(entry, dict):
        raise SettingsError("not a table; write [[key]] above each")
    _refuse_unknown(entry, FIELDS)
    name, sha256, rate = entry.get("name"), entry.get("sha256"), entry.get("rate")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == ANONYMOUS.name:
        raise SettingsError("name must be 1 to 64 letters, digits, dots, dashes or underscores, and not 'anonymous'")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise SettingsError(f"{name!r}: sha256 must be 64 hexadecimal digits")
    rights = _rights(name, entry.get("rights"))
    if rate is not None and not isinstance(rate, str):
        raise SettingsError(f'{name!r}: rate must be text, like "20/second"')
    try:
        return Client(name, rights, Rate.parse(rate) if rate is not None else None, bytes.fromhex(sha256))
    except SettingsError as exc:
        raise SettingsError(f"{name!r}: {exc}") from exc


def _rights(name: str, listed: object) -> frozenset[Right]:
    if not isinstance(listed, list) or not listed or not all(right in RIGHTS for right in listed):
        raise SettingsError(f"{name!r}: rights must be a list of {' and '.join(RIGHTS)}, one at least")
    return frozenset(listed)


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [name for name in table if name not in known]
    if unknown:
        raise SettingsError(f"unknown field {unknown[0][:40]!r}; known are {', '.join(known)}")
