"""Is the ONNX file the trained network? Compared on pictures, each input shape, before anything is published.

Two questions, two answers. Against the network with the stored FP16 kernels the arithmetic is the same, in float32:
differences are rounding noise, and more stops the export. Against the network as trained the difference is what storing
FP16 costs, which is reported. Candidates are matched by prediction and class, since equal scores may swap places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.letterbox import Letterbox
from service.vision.spec import generate_image
from training.export.session import Answers, ExportError
from training.nets import DeployModel

# Float32 in another order of summation: up to 6e-5 of a box that may be 3,000 px wide. Seen with trained weights:
# 6e-5 px and 4e-7; with random ones, which amplify noise: 0.01 px and 7e-6.
BOX_TOLERANCE_PX = 0.25
SCORE_TOLERANCE = 2e-4
# What storing FP16 costs is told for candidates that somebody may want to see.
STORAGE_FLOOR = 0.05
STORAGE_SLACK = 0.02
BATCH = 4
_SEEDS = range(BATCH)

Run = Callable[[NDArray[np.uint8]], Answers]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences between two answers."""

    box_px: float = 0.0
    score: float = 0.0
    unmatched: int = 0  # candidates of one side that the other lacks, beyond a tie at the last place

    def __or__(self, other: "Difference") -> "Difference":
        """The worse of both, term by term."""
        return Difference(
            max(self.box_px, other.box_px), max(self.score, other.score), self.unmatched + other.unmatched
        )

    def __str__(self) -> str:
        return f"boxes {self.box_px:.3g} px, scores {self.score:.2g}, {self.unmatched} unmatched"


@dataclass(frozen=True, slots=True)
class ShapeParity:
    """What was found at one input shape (H, W)."""

    shape_hw: tuple[int, int]
    engine: Difference  # ONNX against torch with the same weights
    batch: Difference  # a batch of four against each image alone
    storage: Difference  # ONNX against torch with the weights as trained


def torch_run(model: DeployModel) -> Run:
    """Return ``model`` as a function of arrays."""

    def run(images: NDArray[np.uint8]) -> Answers:
        with torch.inference_mode():
            return Answers(*(output.numpy() for output in model(torch.from_numpy(images))))

    return run


def pictures(shape_hw: tuple[int, int], images: Sequence[NDArray[np.uint8]] = ()) -> NDArray[np.uint8]:
    """Return uint8 (B, H, W, 3): four generated pictures, then each of ``images`` (H', W', 3) RGB letterboxed."""
    generated = [generate_image(seed, shape_hw) for seed in _SEEDS]
    real = [Letterbox.fit((image.shape[0], image.shape[1]), shape_hw).apply(image) for image in images]
    return np.stack(generated + real)


def check_parity(onnx: Run, *, stored: Run, trained: Run, batch: NDArray[np.uint8]) -> ShapeParity:
    """Compare all three on ``batch``, uint8 (B, H, W, 3), and batches of the first four with single images.

    Raises ExportError where the engine or the batch makes more than a rounding difference.
    """
    answers = [onnx(image[None]).image(0) for image in batch]
    together = onnx(batch[:BATCH])
    found = ShapeParity(
        shape_hw=(batch.shape[1], batch.shape[2]),
        engine=_worst(answers, [stored(image[None]).image(0) for image in batch]),
        batch=_worst(answers[:BATCH], [together.image(index) for index in range(len(together))]),
        storage=_worst(
            answers, [trained(image[None]).image(0) for image in batch], floor=STORAGE_FLOOR, slack=STORAGE_SLACK
        ),
    )
    height, width = found.shape_hw
    if not all(np.isfinite(answer.boxes).all() and np.isfinite(answer.scores).all() for answer in answers):
        raise ExportError(f"the model answers with numbers that are not finite at {height}x{width}")
    for what, difference in (("ONNX Runtime and torch", found.engine), ("batched and single images", found.batch)):
        if difference.box_px > BOX_TOLERANCE_PX or difference.score > SCORE_TOLERANCE or difference.unmatched:
            raise ExportError(f"{what} disagree at {height}x{width}: {difference}")
    return found


def compare(one: Candidates, other: Candidates, *, floor: float = 0.0, slack: float = SCORE_TOLERANCE) -> Difference:
    """Match candidates by prediction and class and return the largest differences among scores above ``floor``.

    Who takes the last places may change with differences of up to ``slack``; such candidates are not missed.
    """
    rows, places = _rows(one), _rows(other)
    both = rows.keys() & places.keys()
    last = max(one.scores[-1], other.scores[-1], floor) + slack
    lost = [one.scores[row] for pair, row in rows.items() if pair not in both]
    lost += [other.scores[row] for pair, row in places.items() if pair not in both]
    unmatched = sum(bool(score > last) for score in lost) if both else len(one)
    shared = [pair for pair in both if one.scores[rows[pair]] >= floor]
    if not shared:
        return Difference(unmatched=unmatched)
    left = np.array([rows[pair] for pair in shared])
    right = np.array([places[pair] for pair in shared])
    return Difference(
        box_px=float(np.abs(one.boxes[left] - other.boxes[right]).max()),
        score=float(np.abs(one.scores[left] - other.scores[right]).max()),
        unmatched=unmatched,
    )


def _rows(candidates: Candidates) -> dict[tuple[int, int], int]:
    pairs = zip(candidates.predictions.tolist(), candidates.classes.tolist(), strict=True)
    return {pair: row for row, pair in enumerate(pairs)}


def _worst(
    ones: Sequence[Candidates], others: Sequence[Candidates], *, floor: float = 0.0, slack: float = SCORE_TOLERANCE
) -> Difference:
    worst = Difference()
    for one, other in zip(ones, others, strict=True):
        worst |= compare(one, other, floor=floor, slack=slack)
    return worst
