"""Fused weights written back as unfused ones that compute the same.

Fusing folds each batch normalisation into its convolution. The way back needs no inverse: a batch normalisation with
mean 0, variance 1 − ε, scale 1 and the fused bias as its shift changes nothing. A fused RepConv becomes its 3x3 branch,
the 1x1 branch zero. Implicit vectors that a fused file still carries were folded too and become neutral. This module
does not know graphs, only the endings of names.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

EPSILON = 1e-3  # of every batch normalisation in the family


def is_fused(tensors: Mapping[str, Tensor]) -> bool:
    """Whether convolutions carry the bias that fusing gives them."""
    return any(name.endswith((".conv.bias", ".rbr_reparam.bias")) for name in tensors)


def unfuse(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the unfused graph, under official names."""
    unfused: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if name.endswith(".conv.bias"):
            unfused.update(_identity_norm(stem.removesuffix("conv") + "bn", tensor))
        elif name.endswith(".rbr_reparam.weight"):
            unfused.update(_branches(stem.removesuffix("rbr_reparam"), tensor, tensors[f"{stem}.bias"]))
        elif last == "implicit":
            unfused[name] = torch.ones_like(tensor) if ".im." in name else torch.zeros_like(tensor)
        elif not name.endswith(".rbr_reparam.bias"):
            unfused[name] = tensor
    return unfused


def _identity_norm(prefix: str, shift: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A batch normalisation that adds ``shift`` (C,) and does nothing else."""
    yield f"{prefix}.weight", torch.ones_like(shift)
    yield f"{prefix}.bias", shift
    yield f"{prefix}.running_mean", torch.zeros_like(shift)
    yield f"{prefix}.running_var", torch.full_like(shift, 1 - EPSILON, dtype=torch.float32)
    yield f"{prefix}.num_batches_tracked", torch.tensor(0)


def _branches(prefix: str, kernel: Tensor, bias: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The branches of a RepConv whose sum is ``kernel`` (O, I, 3, 3) and ``bias`` (O,)."""
    yield f"{prefix}rbr_dense.0.weight", kernel
    yield from _identity_norm(f"{prefix}rbr_dense.1", bias)
    yield f"{prefix}rbr_1x1.0.weight", torch.zeros_like(kernel[:, :, :1, :1])
    yield from _identity_norm(f"{prefix}rbr_1x1.1", torch.zeros_like(bias))
