"""What NVIDIA's public data sheets say of cards: dense peaks by precision, and memory bandwidth.

Dense: sheets of Ampere and later print twice as much for the tensor cores, with half of all weights zero. A precision
that a card has no tensor cores for is missing, but fp32, which no tensor core computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""How wide a number lies in memory, by precision. TF32 is how fp32 is multiplied, not how it is stored."""


@dataclass(frozen=True, slots=True)
class Card:
    """pattern: of the name that nvidia-smi gives. peak_tflops: 10¹² operations a second, a multiply-add is two."""

    name: str
    pattern: str
    bandwidth_gbs: float
    peak_tflops: Mapping[str, float]


_A100 = {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0, "int8": 624.0}
_HOPPER = {"fp32": 67.0, "tf32": 494.7, "fp16": 989.4, "bf16": 989.4, "int8": 1978.9}
_HOPPER_PCIE = {"fp32": 51.0, "tf32": 378.0, "fp16": 756.0, "bf16": 756.0, "int8": 1513.0}

CARDS = (
    Card("V100 SXM2", "*V100-SXM2*", 900.0, {"fp32": 15.7, "fp16": 125.0}),
    Card("V100 PCIe", "*V100-PCIE*", 900.0, {"fp32": 14.0, "fp16": 112.0}),
    Card("T4", "*T4", 320.0, {"fp32": 8.1, "fp16": 65.0, "int8": 130.0}),
    Card("A100 40GB", "*A100*40GB*", 1555.0, _A100),
    Card("A100 80GB PCIe", "*A100 80GB PCIe", 1935.0, _A100),
    Card("A100 80GB SXM", "*A100-SXM4-80GB", 2039.0, _A100),
    Card("L4", "*L4", 300.0, {"fp32": 30.3, "tf32": 60.0, "fp16": 121.0, "bf16": 121.0, "int8": 242.0}),
    Card("H100 PCIe", "*H100 PCIe", 2000.0, _HOPPER_PCIE),
    Card("H100 SXM", "*H100 80GB HBM3", 3350.0, _HOPPER),
    Card("H200 SXM", "*H200", 4800.0, _HOPPER),
)


def find_card(name: str) -> Card | None:
    """The card that is called ``name`` in the table above or by nvidia-smi; None for one that is not in the table."""
    for card in CARDS:
        if name == card.name or fnmatchcase(name, card.pattern):
            return card
    return None
