"""Images that are there twice, in one part or, worse, in two.

The same file is found by its digest. Almost the same picture is found by difference hashes at most so many bits apart,
and only counts if its thumbnails agree as well, since pictures with little in them have alike hashes.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.data.inspection.finding import Finding
from training.data.inspection.pictures import Pictures

_BITS = 6  # of 128 that may differ; below the number of chunks, so that two hashes always share a whole chunk
_CHUNKS = 8
_LEVELS = 4.0  # of 255, the mean difference of two thumbnails
_BLOCK = 2048  # rows compared at a time


def find_duplicates(pictures: Pictures) -> list[Finding]:
    """Return one finding for each image that an earlier one equals or resembles, leaks first."""
    same, alike = _same_files(pictures), _alike(pictures)
    findings = [_finding(pictures, first, second, exact=True) for first, second in same]
    known = {second for _, second in same}
    findings += [_finding(pictures, first, second, exact=False) for first, second in alike if second not in known]
    return sorted(findings, key=lambda finding: "leak" not in finding.kind)


def _finding(pictures: Pictures, first: int, second: int, *, exact: bool) -> Finding:
    parts = pictures.parts[first], pictures.parts[second]
    kind = {
        (True, True): "image twice",
        (True, False): "image almost twice",
        (False, True): "leak",
        (False, False): "near leak",
    }[parts[0] == parts[1], exact]
    text = f"{'equals' if exact else 'resembles'} {pictures.paths[first].name} of {parts[0]}"
    return Finding(kind, parts[1], text, pictures.paths[second], other=pictures.paths[first])


def _same_files(pictures: Pictures) -> list[tuple[int, int]]:
    """Return each image whose file came before: the first such image of another part, else of its own."""
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    pairs = []
    for index, digest in enumerate(pictures.digests):
        earlier = by_digest[digest]
        if earlier:
            others = [one for one in earlier if pictures.parts[one] != pictures.parts[index]]
            pairs.append(((others or earlier)[0], index))
        earlier.append(index)
    return pairs


def _alike(pictures: Pictures) -> list[tuple[int, int]]:
    """Return for each image its most alike among the earlier ones, one of another part before one of its own."""
    parts = np.array(pictures.parts)
    best: dict[int, tuple[bool, int, int]] = {}
    for first, second, distance in _close(pictures.hashes):
        order = np.lexsort((distance,))
        for a, b, bits in zip(first[order].tolist(), second[order].tolist(), distance[order].tolist(), strict=True):
            mine = bool(parts[a] == parts[b]), bits, a
            if b in best and best[b] <= mine:
                continue
            difference = np.abs(pictures.thumbnails[a].astype(np.int16) - pictures.thumbnails[b]).mean()
            if difference <= _LEVELS:
                best[b] = mine
    return [(first, second) for second, (_, _, first) in sorted(best.items())]


def _close(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield arrays of (earlier, later, bits that differ) of pairs that differ little; a pair may come several times.

    Of hashes cut into more chunks than bits may differ, two close ones share a chunk, so only those are compared.
    """
    chunks = hashes.view(np.uint16).reshape(len(hashes), _CHUNKS)
    for column in chunks.T:
        order = np.argsort(column, kind="stable")
        starts = np.flatnonzero(np.diff(column[order])) + 1
        for bucket in np.split(order, starts):
            for begin in range(0, len(bucket) if len(bucket) > 1 else 0, _BLOCK):
                block = bucket[begin : begin + _BLOCK]
                distance = np.bitwise_count(hashes[block, None] ^ hashes[None, bucket]).sum(axis=2, dtype=np.int64)
                row, place = np.nonzero((distance <= _BITS) & (block[:, None] < bucket))
                yield block[row], bucket[place], distance[row, place]
