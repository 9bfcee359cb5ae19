"""How many frames a file holds, from its block structure alone: nothing is decompressed and no frame is visited.

A frame is a picture of an animation or a page of a TIFF. Only the first is ever shown, so a file with thousands is a
mistake or an attack, and is told from its skeleton: PNG by what acTL announces (decoders go by it; without one the rest
is no animation), WebP by its ANMF chunks, GIF by its image descriptors, TIFF by the chain of its directories.

Hostile files are made of as many, as small blocks as fit. Each walk ends one frame past the limit, and a file with more
other blocks than any honest one is refused; that also spares Pillow, which walks up to the first frame block by block
and some twenty times slower. Raises ValueError then; image.py says what that means to a caller. Where a file is cut
short or makes no sense, the walk ends with what it has: the decoder finds the words for that.
"""

import re
from collections.abc import Callable
from typing import Literal

MAX_FRAMES = 1000
"""The default limit: a minute or so of animation."""

MAX_BLOCKS = 10_000
"""Blocks that are no frame. Honest files have up to a hundred; a GIF more, in proportion to its bytes."""

_MEAN_SUB_BLOCK = 64
"""Bytes of GIF data for which one more sub-block is allowed. Encoders fill each to 255, but for the last of a frame."""

_SUB_BLOCKS_PER_FRAME = 8
"""Allowed to a frame on top: its delay, some data, two ends."""

# What nearly all of a GIF consists of, passed over in C. Possessive, so that nothing is kept for going back.
_FULL_SUB_BLOCKS = re.compile(rb"(?:\xff.{255})++", re.DOTALL)

_MAX_TAGS = 4096
"""In one TIFF directory; libtiff's own limit, and BigTIFF could claim 2^64."""


def count_frames(data: bytes, kind: str, *, limit: int) -> int:
    """Frames that the file announces or contains; a number above `limit` means only that there are more.

    kind: the format's name, as its signature was recognised. JPEG and BMP have one frame, and so has a still picture.
    Raises ValueError where the file has an absurd number of blocks.
    """
    walk = _WALKS.get(kind)
    return 1 if walk is None else walk(data, limit)


def _png(data: bytes, limit: int) -> int:
    """By acTL, which must come before the first IDAT: the pixels are not walked over."""
    position = 8
    for _ in range(MAX_BLOCKS):
        name = data[position + 4 : position + 8]
        if name == b"acTL":
            return int.from_bytes(data[position + 8 : position + 12], "big")
        if name == b"IDAT" or len(name) < 4:
            return 1
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    raise ValueError(f"more than {MAX_BLOCKS:,} chunks before its pixels")


def _webp(data: bytes, limit: int) -> int:
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    position = 12
    frames = others = 0
    while position + 8 <= end and frames <= limit:
        if data[position : position + 4] == b"ANMF":
            frames += 1
        else:
            others += 1
            if others > MAX_BLOCKS:
                raise ValueError(f"more than {MAX_BLOCKS:,} chunks that are no frame")
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return frames or 1


def _gif(data: bytes, limit: int) -> int:
    frames = 0
    left = MAX_BLOCKS + _SUB_BLOCKS_PER_FRAME * limit + len(data) // _MEAN_SUB_BLOCK
    try:
        position = 13 + _palette_bytes(data[10])
        while frames <= limit:
            if data[position] == 0x21:  # an extension and its label
                position += 2
            elif data[position] == 0x2C:  # an image descriptor, its palette and the size of its codes
                frames += 1
                position += 11 + _palette_bytes(data[position + 9])
            elif frames or data[position] == 0x3B:
                break
            else:
                raise ValueError("rubbish where its first frame should be")
            if data[position] == 0xFF and (run := _FULL_SUB_BLOCKS.match(data, position)):
                position = run.end()
            more = True
            while more:
                more = data[position] > 0
                position += data[position] + 1
                left -= 1
                if left < 0:
                    raise ValueError("absurdly many blocks for its length")
    except IndexError:
        pass  # cut short
    return frames


def _palette_bytes(flags: int) -> int:
    """Bytes of the colour table that follows a GIF descriptor with these flags."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _tiff(data: bytes, limit: int) -> int:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    # Where the first offset lies, and the sizes of an offset, of a directory's count and of its entries.
    start, width, count_width, entry = (8, 8, 8, 20) if data[2:4] in (b"+\0", b"\0+") else (4, 4, 2, 12)
    position = int.from_bytes(data[start : start + width], order)
    # A chain may lead back into itself: a directory counts once.
    seen: set[int] = set()
    while 0 < position < len(data) and position not in seen and len(seen) <= limit:
        entries = int.from_bytes(data[position : position + count_width], order)
        if entries > _MAX_TAGS:
            if not seen:
                raise ValueError(f"more than {_MAX_TAGS:,} tags")
            break  # some writers leave rubbish where the last directory should say that it is the last
        seen.add(position)
        following = position + count_width + entries * entry
        position = int.from_bytes(data[following : following + width], order)
    return len(seen)


_WALKS: dict[str, Callable[[bytes, int], int]] = {"GIF": _gif, "PNG": _png, "TIFF": _tiff, "WEBP": _webp}
