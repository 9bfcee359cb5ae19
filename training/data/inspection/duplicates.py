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
_CELLS = 1 << 21  # pairs of hashes compared at a time
_PAIRS = 1 << 15  # pairs of thumbnails compared at a time
_NEVER = np.iinfo(np.int64).max


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
    parts = np.unique(pictures.parts, return_inverse=True)[1]
    best: dict[int, int] = {}
    for earlier, later, differ in _close(pictures.hashes):
        rank = (parts[earlier, None] == parts[later]) * 128 + differ.astype(np.int64)
        rank = np.where(differ <= _BITS, rank * len(parts) + earlier[:, None], _NEVER)
        foremost = rank.argmin(axis=0)  # of each later image
        columns = np.flatnonzero(rank.min(axis=0) < _NEVER)
        near = _same_thumbnails(pictures, earlier[foremost[columns]], later[columns])
        pairs = [(foremost[columns[near]], columns[near])]
        # Only where the most alike hash is of another picture, the others matter.
        row, place = np.nonzero(rank[:, columns[~near]] < _NEVER)
        place = columns[~near][place]
        near = _same_thumbnails(pictures, earlier[row], later[place])
        for rows, places in [*pairs, (row[near], place[near])]:
            ranks, images = rank[rows, places].tolist(), later[places].tolist()
            for image, found in zip(images, ranks, strict=True):
                best[image] = min(best.get(image, found), found)
    return [(found % len(parts), image) for image, found in sorted(best.items())]


def _same_thumbnails(pictures: Pictures, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    same = np.zeros(len(first), np.bool_)
    for begin in range(0, len(first), _PAIRS):
        some = slice(begin, begin + _PAIRS)
        one, other = pictures.thumbnails[first[some]].astype(np.int16), pictures.thumbnails[second[some]]
        same[some] = np.abs(one - other).mean(axis=1) <= _LEVELS
    return same


def _close(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield images (E,) and later ones (L,), and how many bits each pair differs in (E, L), 255 for no such pair.

    Of hashes cut into more chunks than bits may differ, two close ones share a chunk, so only those are compared. A
    pair may come several times.
    """
    chunks = hashes.view(np.uint16).reshape(len(hashes), _CHUNKS)
    for column in chunks.T:
        order = np.argsort(column, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(column[order])) + 1):
            if len(bucket) < 2:
                continue
            # Pictures of one fixed camera may all share a chunk, so a block is as long as memory allows.
            rows = max(_CELLS // len(bucket), 1)
            for begin in range(0, len(bucket), rows):
                block, later = bucket[begin : begin + rows], bucket[begin:]
                differ = np.bitwise_count(hashes[block, None] ^ hashes[None, later]).sum(axis=2, dtype=np.uint8)
                differ = np.where(block[:, None] < later, differ, np.uint8(255))
                if differ.min() <= _BITS:
                    yield block, later, differ
