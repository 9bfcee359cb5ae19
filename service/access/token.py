"""The secret text that a client presents: how it is made, read from what was sent, and stored.

A token is 256 random bits. That is why its plain SHA-256 is what is stored: a slow, salted hash protects passwords,
which can be guessed; nobody guesses 256 random bits, and a slow hash would let strangers spend our CPU.
"""

import hashlib
import re
import secrets

from service.errors import Unauthenticated

# Lets a secret scanner, or a person, see what has leaked.
PREFIX = "y7_"
# What is longer was not made here, and is not worth hashing.
MOST_CHARACTERS = 128
# RFC 6750's b64token.
TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{1,{MOST_CHARACTERS}}}={{0,2}}")
HINT = "send `Authorization: Bearer <key>` or `X-API-Key: <key>`"


def new_token() -> str:
    """A token never given before."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_token(token: str) -> bytes:
    """The 32 bytes that stand for the token at rest. Any text has a digest."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def presented_token(authorization: str | None, x_api_key: str | None) -> str | None:
    """What the two fields carry, or None where neither carries a key.

    A scheme other than Bearer is somebody else's (a proxy's Basic, say) and carries none. Raises Unauthenticated for
    text that cannot be a key, and for two keys that differ. The message never repeats what was sent.
    """
    scheme, _, bearer = (authorization or "").strip().partition(" ")
    presented = [bearer.strip()] if scheme.lower() == "bearer" else []
    if x_api_key is not None:
        presented.append(x_api_key.strip())
    for token in presented:
        if not TOKEN.fullmatch(token):
            raise Unauthenticated(f"the key is malformed; {HINT}")
    if len(set(presented)) > 1:
        raise Unauthenticated("Authorization and X-API-Key carry different keys; send one")
    return presented[0] if presented else None
