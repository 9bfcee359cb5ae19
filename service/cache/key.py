"""What an image is known by in the cache: a keyed hash of its bytes and of all that decides its candidates.

Keyed, because one who could compute keys could ask Redis whether somebody's picture was seen, or prepare two pictures
that collide. Whoever cannot read the secret can do neither.
"""

import struct

from blake3 import blake3

from service.vision.spec import ModelSpec

# Raise it whenever decoding or letterboxing may give other pixels for the same bytes.
PREPROCESSING = 1
DIGEST_BYTES = 16
# Tells these hashes from others that may be made with the same secret.
PURPOSE = "yolov7-service 2026-11 cache of candidates"


class CacheKeys:
    """Makes keys. `secret`: any number of bytes but none; replicas that share a cache have the same.

    BLAKE3, because this is done for every request: about 6 GB/s on one core, where BLAKE2 and SHA-256 reach 1 to 2. The
    interpreter's lock is let go meanwhile.
    """

    def __init__(self, secret: bytes) -> None:
        assert secret, "an empty secret would make the keys plain hashes"
        self._key = blake3(secret, derive_key_context=PURPOSE).digest()

    def make(self, data: bytes | memoryview, spec: ModelSpec, *, engine: str) -> bytes:
        """The key, 16 bytes. Safe in any thread.

        data: the encoded image, contiguous; it is not copied. engine: what decides its numbers, such as its precision.
        """
        return blake3(_frame(spec, engine), key=self._key).update(data).digest(DIGEST_BYTES)


def _frame(spec: ModelSpec, engine: str) -> bytes:
    """All but the image, each part behind its length: no two sets of parts give the same bytes, whatever follows."""
    shapes = ",".join(f"{height}x{width}" for height, width in spec.input_shapes)
    parts = (str(PREPROCESSING), spec.name, spec.version, spec.sha256, shapes, spec.score_floor.hex(), engine)
    encoded = [part.encode() for part in parts]
    return b"".join(struct.pack("<I", len(part)) + part for part in encoded)
