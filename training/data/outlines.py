"""Boxes around transformed outlines, cut at the edges of the output: what makes boxes stay tight when objects turn.

By definition each outline is closed, 1,000 points are spread evenly over its edges (each edge gets as many, however
long it is), and the box bounds those that fall inside the output. Most outlines lie wholly inside or outside, and there
the points beside the corners decide, which is the same box for a fraction of the work.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POINTS = 1000


def outline_boxes(
    outlines: Sequence[NDArray[np.float32]], matrix: NDArray[np.float64], output_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the boxes (n, 4) xyxy around outlines (P, 2 each) after ``matrix``, without area where none is left."""
    limit = np.array((output_hw[1], output_hw[0]), np.float64)
    counts = np.array([len(outline) for outline in outlines])
    corners = project(matrix, np.concatenate(outlines))  # (K, 2), all outlines in a row
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)
    # A perspective moves the points along their edge, and may turn an edge inside out.
    flat = not matrix[2, :2].any()
    inside = np.asarray((np.minimum(low, limit - high).min(axis=1) >= 0) & flat, np.bool_)
    outside = np.asarray((np.minimum(high, limit - low).min(axis=1) < 0) & flat, np.bool_)
    boxes = np.zeros((len(outlines), 4))
    if inside.any():
        boxes[inside] = _whole(corners, counts, starts, inside)
    if (crossing := ~(inside | outside)).any():
        chosen = [outline for outline, wanted in zip(outlines, crossing, strict=True) if wanted]
        boxes[crossing] = _cut(project(matrix, spread(chosen)), limit)
    return boxes


def spread(outlines: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Close outlines and spread points along their edges, (n, POINTS, 2)."""
    closed = np.concatenate([part for outline in outlines for part in (outline, outline[:1])]).astype(np.float64)
    edges = np.array([len(outline) for outline in outlines])
    at = np.linspace(0, edges, POINTS, axis=1)  # (n, POINTS)
    first = np.minimum(at.astype(np.int64), edges[:, None] - 1)
    share = (at - first)[..., None]
    first += (np.cumsum(edges + 1) - edges - 1)[:, None]
    return np.asarray(closed[first] * (1 - share) + closed[first + 1] * share, np.float64)


def project(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply a (3, 3) matrix to (..., 2) points."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]  # (..., 3)
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:], np.float64)


def _cut(points: NDArray[np.float64], limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound the points (n, P, 2) inside the output; zeros where there are none."""
    inside = (np.minimum(points, limit - points).min(axis=2) >= 0)[..., None]  # (n, P, 1)
    low, high = np.where(inside, points, np.inf).min(axis=1), np.where(inside, points, -np.inf).max(axis=1)
    return np.where(inside.any(axis=1), np.concatenate((low, high), axis=1), 0)


def _whole(
    corners: NDArray[np.float64], counts: NDArray[np.int64], starts: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Bound the spread points of the outlines wanted: along an edge they rise or fall, so its first and last decide."""
    owner = np.repeat(np.flatnonzero(wanted), counts[wanted])  # of each corner
    count, start = counts[owner], starts[owner]
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts[wanted]) - counts[wanted], counts[wanted])
    before, after = place * (POINTS - 1) // count, -(-place * (POINTS - 1) // count)  # points beside the corner
    at = np.stack((before, after)) * (count / (POINTS - 1))
    first = np.minimum(at.astype(np.int64), count - 1)
    share = (at - first)[..., None]
    points = corners[start + first] * (1 - share) + corners[start + (first + 1) % count] * share  # (2, K, 2)
    ends = np.cumsum(counts[wanted]) - counts[wanted]
    return np.concatenate(
        (np.minimum.reduceat(points.min(axis=0), ends), np.maximum.reduceat(points.max(axis=0), ends)), axis=1
    )
