"""How large the variants are: parameters and FLOPs, counted on the graphs themselves, to stand beside the paper's.

Graphs are built and run without memory (device "meta"). The paper's figures are of fused deploy graphs, except D6's,
which are of its training graph, and count a bias as one more multiply-accumulate. Two habits of its profiler remain as
small differences: a P6 model's GFLOPs are those at 640 pixels, rounded to 0.1, times 4 (up to 0.2 off), and tiny's
13.8 counts batch normalisation (13.745 without).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.nets.deploy import convert, fuse
from training.nets.graph import Network, build_network
from training.nets.variants import Variant


@dataclass(frozen=True, slots=True)
class GraphSize:
    """One graph. A multiply-accumulate is two FLOPs; normalisation, activation, pooling and decoding count nothing.

    ``gflops`` counts the convolutions alone, ``gflops_with_bias`` also two FLOPs per output of one that has a bias.
    """

    parameters: int
    gflops: float
    gflops_with_bias: float


@dataclass(frozen=True, slots=True)
class VariantSize:
    """A variant's four graphs at its own image size."""

    variant: Variant
    training: GraphSize
    training_fused: GraphSize
    deploy: GraphSize
    deploy_fused: GraphSize

    @property
    def as_in_paper(self) -> GraphSize:
        """The graph that the paper's figures are of."""
        return self.training_fused if self.variant.paper.form == "training" else self.deploy_fused


def describe_variant(variant: Variant, *, num_classes: int = 80) -> VariantSize:
    """Count one variant's parameters and FLOPs at ``variant.image_size``, square."""
    with torch.device("meta"):
        training = build_network(variant, num_classes=num_classes).eval()  # the cheaper normalisation
    deploy = convert(training)
    graphs = (training, fuse(training), deploy, fuse(deploy))
    return VariantSize(variant, *(measure(graph, variant.image_size) for graph in graphs))


def measure(network: Network, image_size: int) -> GraphSize:
    """Count a network that lies on device "meta", on one image of ``image_size`` squared."""
    products = biases = 0

    def count(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal products, biases
        assert isinstance(conv, nn.Conv2d)
        products += output.numel() * conv.weight[0].numel()
        biases += output.numel() if conv.bias is not None else 0

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    for hook in hooks:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return GraphSize(parameters, 2e-9 * products, 2e-9 * (products + biases))
