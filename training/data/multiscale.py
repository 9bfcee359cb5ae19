"""Multi-scale training: every batch at another size, scaled on the device after it got there."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F


def draw_side(seed: int, step: int, *, image_size: int, stride: int) -> int:
    """Return the side of a step's images: half to one and a half times ``image_size``, in whole strides, at least one.

    It depends on (seed, step) alone, so that all processes of a run agree, and a run that goes on does as before.
    """
    # The fourth number keeps this stream apart from those of items and order, which start from three.
    rng = np.random.default_rng((seed, step, 0, 1))
    side = int(rng.integers(image_size // 2, image_size * 3 // 2 + stride)) // stride * stride
    return max(side, stride)


def rescaled(images: Tensor, side: int) -> Tensor:
    """Scale float images (B, 3, S, S) to (B, 3, side, side), bilinear; targets are fractions and stay as they are."""
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
