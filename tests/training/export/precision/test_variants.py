"""Every variant is halved and quantised by its own recipe. Weights are random, so this says nothing about accuracy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from service.vision.spec import generate_image
from training.checkpoint import Checkpoint
from training.config import load_quantisation
from training.data import CocoDataset
from training.export import export_checkpoint
from training.export.precision import write_half, write_integers
from training.export.precision.recipes import find_recipe
from training.nets import VARIANTS, build_network

SIDE = 128
CLASS_NAMES = ("a", "b", "c")


def sober_checkpoint(variant: str, path: Path) -> Path:
    """Random weights that do not amplify noise: batch norms of pictures, no channel scaled up, heads a tenth."""
    torch.manual_seed(0)
    network = build_network(VARIANTS[variant], num_classes=len(CLASS_NAMES), form="training").train()
    pictures = np.stack([generate_image(seed, (2 * SIDE, 2 * SIDE)) for seed in range(4)])
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None
        for name, weight in network.named_parameters():
            if name.startswith("head.") and weight.dim() == 4:
                weight.mul_(0.1)
        network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        for norm in norms:
            norm.running_var.clamp_(min=float(norm.running_var.median()))
    state = network.state_dict()
    Checkpoint(variant, "training", CLASS_NAMES, state, ema=state, epoch=1, config={"variant": variant}).save(path)
    return path


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_halved_and_quantised(variant: str, pictures_set: CocoDataset, tmp_path: Path) -> None:
    checkpoint = sober_checkpoint(variant, tmp_path / "last.pt")
    report = export_checkpoint(checkpoint, name=variant, repository=tmp_path, shapes=[(SIDE, SIDE)], max_candidates=500)
    checkpoint.unlink()
    recipe = load_quantisation(find_recipe(None, report.onnx.path))
    half = write_half(report.onnx.path)
    integers = write_integers(report.onnx.path, pictures_set, replace(recipe, images=6))
    for file, boxes_px in ((half, 0.5), *((file, 10) for file in integers)):
        found = file.agreements[SIDE, SIDE]
        assert found.predictions > 0.9, file.path.name
        assert found.boxes_px[0] < boxes_px, file.path.name
    nodes = onnx.load(integers[1].path).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    wide = [node for node in nodes if node.op_type == "Conv" and makers.get(node.input[0]) != "DequantizeLinear"]
    assert len(wide) == (len(VARIANTS[variant].strides) if recipe.wide else 0)
