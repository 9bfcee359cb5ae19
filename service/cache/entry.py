"""What is cached of an image, and its form on the wire. Knows neither keys nor where it is kept.

The wire form is exact: floats are kept bit for bit, so an answer from the cache equals the one computed. Little-endian:

    "YCI" version 1 · CRC-32 of all that follows · widths of a class and of a prediction in bytes · 0 0
    rows K · image height, width · input height, width                                             (uint32 each)
    boxes float32 (K, 4) · scores float32 (K,) · classes (K,) · predictions (K,)    (uint8, uint16 or uint32 each)

1,000 rows of up to 256 classes take 32 + 1,000 × 23 = 23,032 bytes on the wire. In memory they take 29.5 kB, or 32.5 kB
where they came from the wire, whose bytes are then kept.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates

MAGIC = b"YCI\x01"
# Magic and checksum, which the checksum does not cover; then what it does.
SEAL = struct.Struct("<4sI")
HEADER = struct.Struct("<BBxxIIIII")
INTEGERS: dict[int, np.dtype[np.unsignedinteger]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
ROW_FLOATS_BYTES = 20
# What the objects around the data take at most, as tracemalloc counts them in CPython 3.11.
OBJECTS_BYTES = 1250


class DamagedEntry(Exception):
    """Bytes that no `encode` of this version wrote; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedImage:
    """The candidates of one image, before any threshold of a request. Read-only, so that requests may share it.

    image_hw: size of the upright original. shape_hw: the network's input, into which it was letterboxed.
    held_bytes: memory that is in use for as long as this object lives.
    """

    candidates: Candidates
    image_hw: tuple[int, int]
    shape_hw: tuple[int, int]
    held_bytes: int

    @classmethod
    def of(cls, candidates: Candidates, *, image_hw: tuple[int, int], shape_hw: tuple[int, int]) -> Self:
        """Takes the arrays over as they are, and makes them read-only: whoever made them lets go of them."""
        arrays = (candidates.boxes, candidates.scores, candidates.classes, candidates.predictions)
        for array in arrays:
            array.flags.writeable = False
        return cls(candidates, image_hw, shape_hw, sum(array.nbytes for array in arrays) + OBJECTS_BYTES)


def encode(entry: CachedImage) -> bytes:
    """The entry's wire form. `decode` gives back every array bit for bit."""
    rows = entry.candidates
    classes, predictions = _narrowest(rows.classes), _narrowest(rows.predictions)
    header = HEADER.pack(classes.itemsize, predictions.itemsize, len(rows), *entry.image_hw, *entry.shape_hw)
    floats = rows.boxes.astype("<f4", copy=False).tobytes(), rows.scores.astype("<f4", copy=False).tobytes()
    body = b"".join((header, *floats, classes.tobytes(), predictions.tobytes()))
    return SEAL.pack(MAGIC, zlib.crc32(body)) + body


def decode(data: bytes) -> CachedImage:
    """The entry that was encoded; its boxes and scores are views of `data`. Raises DamagedEntry."""
    if len(data) < SEAL.size + HEADER.size:
        raise DamagedEntry(f"{len(data)} bytes are too few")
    magic, checksum = SEAL.unpack_from(data)
    if magic != MAGIC:
        raise DamagedEntry("it does not begin as an entry of this version does")
    if zlib.crc32(memoryview(data)[SEAL.size :]) != checksum:
        raise DamagedEntry("the checksum differs")
    class_bytes, prediction_bytes, rows, *sides = HEADER.unpack_from(data, SEAL.size)
    if class_bytes not in INTEGERS or prediction_bytes not in INTEGERS or 0 in sides:
        raise DamagedEntry("a width or size is out of range")
    if len(data) != SEAL.size + HEADER.size + rows * (ROW_FLOATS_BYTES + class_bytes + prediction_bytes):
        raise DamagedEntry(f"{len(data)} bytes do not hold {rows} rows")
    height, width, input_height, input_width = sides
    candidates = _rows(data, rows, class_bytes, prediction_bytes)
    widened_bytes = candidates.classes.nbytes + candidates.predictions.nbytes
    held_bytes = len(data) + widened_bytes + OBJECTS_BYTES
    return CachedImage(candidates, (height, width), (input_height, input_width), held_bytes)


def _rows(data: bytes, rows: int, class_bytes: int, prediction_bytes: int) -> Candidates:
    boxes_at = SEAL.size + HEADER.size
    scores_at = boxes_at + rows * 16
    classes_at = scores_at + rows * 4
    return Candidates(
        boxes=np.frombuffer(data, "<f4", rows * 4, boxes_at).reshape(rows, 4),
        scores=np.frombuffer(data, "<f4", rows, scores_at),
        classes=_widened(np.frombuffer(data, INTEGERS[class_bytes], rows, classes_at)),
        predictions=_widened(
            np.frombuffer(data, INTEGERS[prediction_bytes], rows, classes_at + rows * class_bytes),
        ),
    )


def _narrowest(values: NDArray[np.int32]) -> NDArray[np.unsignedinteger]:
    """The same numbers in the fewest bytes. Bits are kept: a negative one, which no engine means, takes four."""
    bits = values.astype("<i4", copy=False).view("<u4")
    highest = int(bits.max(initial=0))
    return bits.astype(INTEGERS[1 if highest < 1 << 8 else 2 if highest < 1 << 16 else 4], copy=False)


def _widened(values: NDArray[np.unsignedinteger]) -> NDArray[np.int32]:
    # Casting between integers keeps the low bits, so even a negative number that took four bytes comes back.
    wide = values.astype(np.int32)
    wide.flags.writeable = False
    return wide
