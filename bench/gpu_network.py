"""The networks that bench/gpu.py runs: fused deploy graphs whose weights are random, in the precision asked for.

Random weights are settled first: one batch of the pictures and the shape that are measured sets the statistics of the
normalisation, so that maps have the spread of a trained network's. Left alone they fade to zero from layer to layer,
and a GPU multiplies zeros faster than numbers; settled on other pictures they grow beyond what FP16 holds. Scores are
spread too, so that decode, top-k and NMS have something to do.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from gpu_cases import Precision
from torch import Tensor, nn

from service.vision.spec import generate_image
from training.nets import DeployModel, Network, Variant, build_network

CLASSES = 80
CANDIDATES = 1000
DISTINCT = 4
_DTYPES: dict[Precision, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "tf32": torch.float32,
    "fp32": torch.float32,
}


def settled_model(variant: Variant, shape_hw: tuple[int, int], device: torch.device) -> DeployModel:
    """A variant in float32 on ``device``, fused, for one shape. The same weights each time on one kind of device."""
    torch.manual_seed(0)
    with device:
        network = build_network(variant, num_classes=CLASSES, form="deploy").train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the last batch, not an average of many
    with torch.no_grad(), without_search():
        network(pictures(DISTINCT, shape_hw, device).permute(0, 3, 1, 2).float() / 255)
        for conv in network.head.lead.children():
            nn.init.zeros_(conv.bias)  # no prior that objects are rare
    return DeployModel(network).eval()


@contextmanager
def without_search() -> Iterator[None]:
    """For what runs once, which is not worth a search for the fastest kernels."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def narrowed(model: DeployModel, precision: Precision, shape_hw: tuple[int, int]) -> DeployModel:
    """A copy of ``model`` whose network computes in ``precision``, channels last; decode and top-k stay float32."""
    copied = copy.deepcopy(model)
    copied.max_candidates = candidates_of(model, shape_hw)
    copied.network = Narrow(copied.network, _DTYPES[precision])  # type: ignore[assignment]  # stands in for a Network
    return copied.eval()


def candidates_of(model: DeployModel, shape_hw: tuple[int, int]) -> int:
    """K, or what there is of predictions at a small shape."""
    height, width = shape_hw
    return min(CANDIDATES, sum(3 * (height // stride) * (width // stride) for stride in model.network.strides))


class Narrow(nn.Module):
    """A Network in another dtype, to everyone else as it was: float images in, float32 logits out."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self.num_classes = network.num_classes
        self.strides = network.strides
        # Taken before narrowing: bf16 cannot hold 459.
        self.register_buffer("anchors", network.anchors.clone())
        self.dtype = dtype
        self.network = network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to one (B, 3, H/s, W/s, 5+C) per level."""
        narrow = images.to(dtype=self.dtype, memory_format=torch.channels_last)
        return [raw.float() for raw in self.network(narrow)]


def pictures(count: int, shape_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Letterboxed bytes as engines take them: uint8 (count, H, W, 3) on ``device``; DISTINCT ones, repeated."""
    distinct: Sequence[np.ndarray] = [generate_image(seed, shape_hw) for seed in range(min(count, DISTINCT))]
    return torch.from_numpy(np.stack([distinct[index % DISTINCT] for index in range(count)])).to(device)
