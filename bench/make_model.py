"""A YOLOv7-tiny of random weights for speed measurements, published by the trainer's own export.

    .venv/bin/python bench/make_model.py OUT_REPOSITORY [--name tiny] [--classes 80]

Its boxes mean nothing; its arithmetic, its shapes and the work that its answers cause are those of a trained one. Fresh
weights alone would not do: their signal fades layer by layer, and every prediction says the same. So the batch
normalisations take the statistics of real photos, the head's logits are brought to a fixed spread, and the bias of
objectness is chosen so that a photo has about thirty predictions above 0.25.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pair import parse_pair
from photos import photos
from torch import Tensor, nn

from service.vision.image import decode
from service.vision.letterbox import Letterbox
from service.vision.spec import generate_image
from training.checkpoint import Checkpoint
from training.export import export_checkpoint
from training.export.card import CardFacts
from training.nets import VARIANTS, Network, build_network
from training.nets.head import ImplicitConv

_SHAPES = ((640, 640), (384, 640), (448, 640), (512, 640), (640, 512), (640, 384))
_CALIBRATED_HW = (448, 640)
# Standard deviations of the logits. Random layers amplify the rounding of bf16 far more than trained ones; these are
# small enough for the known image to pass with it.
_BOX_SPREAD, _OBJECTNESS_SPREAD, _CLASS_SPREAD = 0.015, 0.05, 0.025
_CONFIDENCE = 0.25
_ABOVE = 30  # predictions of an image


def main() -> None:
    """Build, calibrate, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="tiny")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--shapes", type=parse_pair, nargs="+", default=_SHAPES, metavar="HxW")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = build_network(VARIANTS[arguments.variant], num_classes=arguments.classes)
    above = calibrate(network, _pictures())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pt"
        names = tuple(f"class {number}" for number in range(arguments.classes))
        Checkpoint(arguments.variant, "training", names, network.state_dict()).save(path)
        facts = CardFacts(description="Random weights, for measurements of speed only.", data="none")
        published = export_checkpoint(
            path,
            name=arguments.name,
            repository=arguments.repository,
            shapes=arguments.shapes,
            facts=facts,
        )
    print(f"{published.folder}: about {above:.0f} predictions above {_CONFIDENCE} in a photo")


def calibrate(network: Network, images: Tensor) -> float:
    """Give fresh weights the statistics of ``images`` (B, 3, H, W) in 0..1, and their logits a trained one's spread.

    Return how many predictions of an image are then above the confidence.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average over the batches seen
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(images)
        network.eval()
        for level, raw in zip(_head(network), network(images), strict=True):
            _spread(level, raw)
        bias = _objectness_bias(network(images))
        for level in _head(network):
            assert level.bias is not None
            level.bias.view(3, -1)[:, 4] += bias
        return float((_best_scores(network(images), 0.0) > _CONFIDENCE).sum(1).float().mean())


def _head(network: Network) -> list[nn.Conv2d]:
    return [level.conv for level in network.head.lead if isinstance(level, ImplicitConv)]


def _spread(level: nn.Conv2d, raw: Tensor) -> None:
    """Give each output of a level mean 0 and a fixed spread; ``raw`` (B, A, H, W, 5+C) is what it says."""
    channels = raw.permute(0, 2, 3, 1, 4).flatten(0, 2).flatten(1)  # (cells, A·(5+C))
    wanted = torch.full(raw.shape[1::3], _CLASS_SPREAD)  # (A, 5+C)
    wanted[:, :4] = _BOX_SPREAD
    wanted[:, 4] = _OBJECTNESS_SPREAD
    scale = wanted.flatten() / channels.std(0)
    level.weight.mul_(scale[:, None, None, None])
    assert level.bias is not None
    level.bias.mul_(scale).sub_(channels.mean(0) * scale)


def _best_scores(raws: Sequence[Tensor], bias: float) -> Tensor:
    """Score of each prediction's best class, (B, N), with ``bias`` added to objectness."""
    logits = torch.cat([raw.flatten(1, 3) for raw in raws], 1)
    return (logits[..., 4] + bias).sigmoid() * logits[..., 5:].amax(-1).sigmoid()


def _objectness_bias(raws: Sequence[Tensor]) -> float:
    low, high = -20.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        above = float((_best_scores(raws, middle) > _CONFIDENCE).sum(1).float().mean())
        low, high = (low, middle) if above > _ABOVE else (middle, high)
    return low


def _pictures() -> Tensor:
    """Photos, and the picture of the known image, as the network sees them: (B, 3, H, W) in 0..1."""
    letterboxed = []
    for jpeg in photos((773, 512)).values():
        pixels = decode(jpeg)
        letterboxed.append(Letterbox.fit((pixels.shape[0], pixels.shape[1]), _CALIBRATED_HW).apply(pixels))
    letterboxed.append(generate_image(7, _CALIBRATED_HW))
    return torch.from_numpy(np.stack(letterboxed)).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    main()
