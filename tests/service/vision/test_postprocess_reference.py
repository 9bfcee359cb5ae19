"""Postprocessing against itself before it was made fast, to the last bit: all rows sorted, thresholds applied late."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.postprocess import SERVED_EVALUATION, PostprocessOptions, count_contenders, postprocess

LETTERBOXES = (Letterbox.fit((1080, 1920), (384, 640)), Letterbox.fit((30, 40), (64, 64)))
# Some that float32 rounds up, some that it rounds down, some that it keeps.
LEVELS = [0.001, 0.1, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0]


def reference(candidates: Candidates, letterbox: Letterbox, options: PostprocessOptions) -> Detections:
    order = np.argsort(-candidates.scores, kind="stable")
    if not options.multi_label:
        order = order[np.sort(np.unique(candidates.predictions[order], return_index=True)[1])]
    scores, classes = candidates.scores[order], candidates.classes[order]
    thresholds = np.full(len(scores), options.confidence, np.float32)
    for class_id, confidence in options.class_confidence:
        thresholds[classes == class_id] = confidence
    wanted = scores > thresholds
    if options.classes is not None:
        wanted &= np.isin(classes, options.classes)
    order = order[wanted]
    boxes, scores, classes = candidates.boxes[order], candidates.scores[order], candidates.classes[order]
    kept = reference_nms(boxes, np.zeros_like(classes) if options.class_agnostic else classes, options)
    clipped = reference_to_image(boxes[kept], letterbox)
    sides = clipped[:, 2:] - clipped[:, :2]
    seen = sides[:, 0] * sides[:, 1] > 0
    return Detections(clipped[seen], scores[kept][seen], classes[kept][seen])


def reference_nms(
    boxes: NDArray[np.float32], classes: NDArray[np.int32], options: PostprocessOptions
) -> NDArray[np.int64]:
    """Boxes come best first."""
    overlaps = reference_iou(boxes, boxes) > np.float32(options.iou)
    overlaps &= classes[:, None] == classes
    alive = np.ones(len(boxes), np.bool_)
    for index, overlapped in enumerate(overlaps):
        if alive[index]:
            alive[index + 1 :] &= ~overlapped[index + 1 :]
    return np.flatnonzero(alive)[: options.max_detections]


def reference_iou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    x1, y1, x2, y2 = boxes.T[..., None]
    ox1, oy1, ox2, oy2 = others.T
    with np.errstate(all="ignore"):
        width = np.minimum(x2, ox2) - np.maximum(x1, ox1)
        height = np.minimum(y2, oy2) - np.maximum(y1, oy1)
        intersection = np.maximum(width, 0) * np.maximum(height, 0)
        return intersection / ((x2 - x1) * (y2 - y1) + (ox2 - ox1) * (oy2 - oy1) - intersection)


def reference_to_image(boxes: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.float32]:
    height, width = letterbox.image_hw
    scale = np.array([letterbox.resized_hw[1] / width, letterbox.resized_hw[0] / height] * 2)
    unclipped = (boxes - np.array([letterbox.left, letterbox.top] * 2, np.float64)) / scale
    return np.clip(unclipped, 0, np.array([width, height, width, height])).astype(np.float32)


def crowd(seed: int, count: int, *, tidy: bool) -> Candidates:
    """Rows with ties in score, boxes on a coarse grid, predictions in several rows; tidy: best first and whole."""
    rng = np.random.default_rng(seed)
    spread = rng.choice([30, 300])
    corner = np.round(rng.uniform(-10, spread, (count, 2)))
    boxes = np.concatenate([corner, corner + np.round(rng.uniform(0, 40, (count, 2)))], axis=1).astype(np.float32)
    scores = rng.choice([*LEVELS, *rng.random(20)], count).astype(np.float32)
    predictions = rng.integers(0, max(count * 2 // 3, 1), count, dtype=np.int32)
    if tidy:
        scores = np.sort(scores)[::-1]
    else:
        boxes[rng.random((count, 4)) < 0.02] = rng.choice([-0.0, np.nan, np.inf, -np.inf])
        scores[rng.random(count) < 0.02] = np.nan
    return Candidates(boxes, scores, rng.integers(0, 4, count, dtype=np.int32), predictions)


levels = st.sampled_from(LEVELS)
options = st.builds(
    PostprocessOptions,
    confidence=levels,
    iou=st.sampled_from([0.0, 0.3, 0.45, 0.65, 1.0]),
    max_detections=st.sampled_from([0, 1, 5, 300]),
    classes=st.none() | st.lists(st.integers(0, 5), max_size=3).map(tuple),
    class_agnostic=st.booleans(),
    multi_label=st.booleans(),
    class_confidence=st.lists(st.tuples(st.integers(0, 5), levels), max_size=3).map(tuple),
)


def assert_same(candidates: Candidates, letterbox: Letterbox, options: PostprocessOptions) -> None:
    found, expected = (answer(candidates, letterbox, options) for answer in (postprocess, reference))
    for name in ("boxes", "scores", "class_ids"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), name


@given(st.integers(0, 10**6), st.integers(0, 40), st.booleans(), st.sampled_from(LETTERBOXES), options)
@settings(deadline=None, max_examples=400)
def test_the_fast_way_answers_the_same_bits(
    seed: int, count: int, tidy: bool, letterbox: Letterbox, options: PostprocessOptions
) -> None:
    assert_same(crowd(seed, count, tidy=tidy), letterbox, options)


@given(st.integers(0, 10**6), st.integers(100, 600), st.booleans(), options)
@settings(deadline=None, max_examples=40)
def test_so_it_does_with_several_blocks(seed: int, count: int, tidy: bool, options: PostprocessOptions) -> None:
    assert_same(crowd(seed, count, tidy=tidy), LETTERBOXES[0], options)


def test_and_with_a_thousand_rows_as_they_are_evaluated() -> None:
    for seed in range(3):
        assert_same(crowd(seed, 1000, tidy=True), LETTERBOXES[0], SERVED_EVALUATION)


@given(st.integers(0, 10**6), st.integers(0, 40), options)
@settings(deadline=None, max_examples=100)
def test_contenders_are_all_that_matter(seed: int, count: int, options: PostprocessOptions) -> None:
    rows = crowd(seed, count, tidy=True)
    contenders = count_contenders(rows, options)
    first = Candidates(*(column[:contenders] for column in (rows.boxes, rows.scores, rows.classes, rows.predictions)))
    assert postprocess(first, LETTERBOXES[0], options).boxes.tobytes() == (
        postprocess(rows, LETTERBOXES[0], options).boxes.tobytes()
    )
    assert 0 <= len(postprocess(rows, LETTERBOXES[0], options)) <= contenders <= count


def test_a_score_at_the_least_threshold_is_no_contender() -> None:
    rows = Candidates(
        np.zeros((4, 4), np.float32), np.float32([0.5, 0.3, 0.2, 0.1]), np.zeros(4, np.int32), np.arange(4, dtype="i4")
    )
    for least, expected in ((0.5, 0), (0.3, 1), (0.2, 2), (0.15, 3), (0.001, 4)):
        assert count_contenders(rows, PostprocessOptions(confidence=least)) == expected
        own = PostprocessOptions(confidence=0.9, class_confidence=((7, least), (0, 0.8)))
        assert count_contenders(rows, own) == expected
