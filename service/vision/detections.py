"""Detections as structs of arrays, before and after postprocessing. Knows nothing of images, models or the wire.

Letters used in this package: K candidates, N detections, H W image rows and columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the network says about one image, before any threshold of a request.

    boxes: float32 (K, 4) x1 y1 x2 y2 in pixels of the network's input.
    scores: float32 (K,) in 0..1, objectness × class probability (one class: objectness alone).
    classes: int32 (K,) class index.
    predictions: int32 (K,) index of the prediction a row came from; one prediction may appear with several classes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    predictions: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, floor: float) -> "Candidates":
        """The rows that score at least `floor`, in their order; copies, which hold no batch in memory."""
        kept = np.flatnonzero(self.scores >= floor)
        return Candidates(self.boxes[kept], self.scores[kept], self.classes[kept], self.predictions[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a request is answered, best first.

    boxes: float32 (N, 4) x1 y1 x2 y2 in pixels of the upright original, inside it.
    scores: float32 (N,) in 0..1, falling.
    class_ids: int32 (N,).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)
