"""Roofline of every variant: operations, bytes, and the least time that a card needs for both. Needs no GPU.

    .venv/bin/python bench/roofline.py [--card 'H100 SXM'] [--precision fp16] [--sides 640 1280] [--batches 1 32]
    .venv/bin/python bench/roofline.py --peak-tflops 100 --bandwidth-gbs 1000
    .venv/bin/python bench/roofline.py --card 'V100 SXM2' --paper      # the share that the paper's own speeds reach

Counted on the fused deploy graph, which is built without memory. A multiply-add is two operations; biases, activations,
pooling and decoding are none. Bytes: each convolution, with all that is folded into it, reads its input and its
weights once and writes its output once; concatenation, pooling and enlarging move nothing. Weights are read once for a
batch.

Two bounds follow. The whole network's is the larger of operations / peak and bytes / bandwidth. Layer by layer it is
the sum of each layer's larger one, since layers run one after another; it is higher wherever some layers wait for
memory. The first holds always as far as the bytes do; the second can be beaten where maps stay in a cache or layers are
merged.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from cards import BYTES, CARDS, find_card
from published import paper_fps
from torch import Tensor, nn

from training.nets import VARIANTS, Variant, build_network, fuse

_CARD = "H100 SXM"
_HEADS = (
    "variant",
    "H×W",
    "GFLOPs",
    "weights MB",
    "maps MB",
    *("batch", "FLOPs a byte", "bound by", "at least ms", "layer by layer ms", "images/s at most"),
)
_PAPER_HEADS = ("paper's images/s", "of what is possible")


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution, on one image: multiply-adds, and how many numbers it reads and writes.

    biased: outputs that a bias is added to, which the paper's profiler counts as a multiply-add each.
    """

    products: int
    biased: int
    weights: int
    read: int
    written: int

    def flops(self, batch: int = 1) -> int:
        """Operations on a batch."""
        return 2 * self.products * batch

    def bytes_moved(self, width: int, batch: int = 1) -> int:
        """To and from memory, with numbers of ``width`` bytes."""
        return width * (self.weights + batch * (self.read + self.written))


@dataclass(frozen=True, slots=True)
class Roof:
    """What a card can do in one precision. tflops: 10¹² operations a second; gbs: 10⁹ bytes a second; width: bytes."""

    tflops: float
    gbs: float
    width: int

    @property
    def ridge(self) -> float:
        """FLOPs a byte from which on arithmetic is the limit."""
        return 1e3 * self.tflops / self.gbs

    def seconds(self, flops: float, moved: float) -> float:
        """The least time for so many operations and bytes, both at once."""
        return max(flops / (1e12 * self.tflops), moved / (1e9 * self.gbs))


@dataclass(frozen=True, slots=True)
class Bound:
    """A network under a roof, for a whole batch. whole_s and layered_s: the two bounds of the module's docstring."""

    flops: int
    bytes_moved: int
    whole_s: float
    layered_s: float

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes_moved


def layers_of(variant: Variant, shape_hw: tuple[int, int], *, num_classes: int = 80) -> list[Layer]:
    """Every convolution of a variant's fused deploy graph on one image of shape (H, W), in the order they run."""
    with torch.device("meta"):
        network = fuse(build_network(variant, num_classes=num_classes, form="deploy"))
        return count_layers(network, torch.empty(1, 3, *shape_hw))


def count_layers(network: nn.Module, images: Tensor) -> list[Layer]:
    """Run ``network`` on one image and note each convolution as it runs."""
    layers: list[Layer] = []

    def note(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        weights = conv.weight.numel() + (0 if conv.bias is None else conv.bias.numel())
        biased = 0 if conv.bias is None else output.numel()
        products = output.numel() * conv.weight[0].numel()
        layers.append(Layer(products, biased, weights, inputs[0].numel(), output.numel()))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return layers


def bound(layers: Sequence[Layer], roof: Roof, batch: int = 1) -> Bound:
    """The least time of a batch."""
    work = [(layer.flops(batch), layer.bytes_moved(roof.width, batch)) for layer in layers]
    flops, moved = (sum(column) for column in zip(*work, strict=True))
    return Bound(flops, moved, roof.seconds(flops, moved), sum(roof.seconds(*each) for each in work))


def find_roof(card: str, precision: str) -> Roof | None:
    """By the name of a card, the table's or nvidia-smi's; None where the table does not say."""
    found = find_card(card)
    if found is None or precision not in found.peak_tflops:
        return None
    return Roof(found.peak_tflops[precision], found.bandwidth_gbs, BYTES[precision])


def rows(
    names: Sequence[str], roof: Roof, shapes_hw: Sequence[tuple[int, int]], batches: Sequence[int]
) -> Iterator[dict[str, object]]:
    """One for each variant, shape and batch."""
    for variant in (VARIANTS[name] for name in names):
        for height, width in shapes_hw:
            layers = layers_of(variant, (height, width))
            for batch in batches:
                found = bound(layers, roof, batch)
                paper = paper_fps(variant.name, (height, width), batch)
                yield {
                    "variant": variant.name,
                    "shape": f"{height}x{width}",
                    "batch": batch,
                    "gflops_an_image": found.flops / batch / 1e9,
                    "weights_mb": roof.width * sum(layer.weights for layer in layers) / 1e6,
                    "maps_mb": roof.width * sum(layer.read + layer.written for layer in layers) / 1e6,
                    "flops_a_byte": found.intensity,
                    "bound_by": "arithmetic" if found.intensity >= roof.ridge else "memory",
                    "at_least_ms": 1e3 * found.whole_s,
                    "layered_ms": 1e3 * found.layered_s,
                    "images_per_second": batch / found.whole_s,
                    "paper_fps": paper,
                    "paper_share": paper and paper * found.whole_s / batch,
                }


def main() -> None:
    """Print the table, as Markdown or JSON."""
    arguments = _arguments()
    roof: Roof | None
    if arguments.peak_tflops and arguments.bandwidth_gbs:
        title, roof = "as given", Roof(arguments.peak_tflops, arguments.bandwidth_gbs, BYTES[arguments.precision])
    elif arguments.peak_tflops or arguments.bandwidth_gbs:
        sys.exit("--peak-tflops and --bandwidth-gbs go together")
    else:
        title, roof = arguments.card, find_roof(arguments.card, arguments.precision)
        if roof is None:
            sys.exit(f"no peak of {title} in {arguments.precision} is known: give --peak-tflops and --bandwidth-gbs")
    found = list(rows(arguments.variants, roof, [(side, side) for side in arguments.sides], arguments.batches))
    if arguments.json:
        print(json.dumps({"card": title, "roof": asdict(roof), "ridge": roof.ridge, "rows": found}, indent=2))
        return
    print(f"{title}, {arguments.precision}: {roof.tflops:g} TFLOP/s, {roof.gbs:g} GB/s, ridge {roof.ridge:.0f}\n")
    heads = _HEADS + _PAPER_HEADS if arguments.paper else _HEADS
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in found:
        if row["paper_fps"] or not arguments.paper:
            print(f"| {' | '.join(_cells(row)[: len(heads)])} |")


def _cells(row: dict[str, object]) -> list[str]:
    digits: dict[str, Callable[[object], str]] = {
        "gflops_an_image": "{:.1f}".format,
        "weights_mb": "{:.1f}".format,
        "maps_mb": "{:.0f}".format,
        "batch": str,
        "flops_a_byte": "{:.0f}".format,
        "bound_by": str,
        "at_least_ms": "{:.3f}".format,
        "layered_ms": "{:.3f}".format,
        "images_per_second": "{:.0f}".format,
        "paper_fps": lambda value: f"{value:.0f}" if value else "",
        "paper_share": lambda value: f"{value:.1%}" if value else "",
    }
    return [str(row["variant"]), str(row["shape"]), *(text(row[name]) for name, text in digits.items())]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(card.name for card in CARDS)
    parser.add_argument("--card", default=_CARD, help=f"one of {names} (default: {_CARD})")
    parser.add_argument("--precision", choices=BYTES, default="fp16")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 1280], metavar="PX", help="of square inputs")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], metavar="N")
    parser.add_argument("--peak-tflops", type=float, help="instead of a card's data sheet")
    parser.add_argument("--bandwidth-gbs", type=float, help="instead of a card's data sheet")
    parser.add_argument("--paper", action="store_true", help="only what the paper says a V100 does, and its share")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
