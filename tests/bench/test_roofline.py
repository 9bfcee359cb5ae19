"""Operations beside the paper's, bytes and bounds by hand, cards by the names that nvidia-smi gives them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cards import CARDS, find_card
from roofline import Layer, Roof, bound, count_layers, find_roof, layers_of
from torch import nn

from training.nets import VARIANTS

BENCH = Path(__file__).resolve().parents[2] / "bench"

# Of the fused deploy graph at the paper's size, in GFLOPs: convolutions alone, and with biases as its profiler counts.
COUNTED = {
    "tiny": (13.701, 13.745),
    "tiny-silu": (13.701, 13.745),
    "v7": (104.511, 104.685),
    "x": (189.674, 189.904),
    "w6": (359.717, 360.157),
    "e6": (514.426, 515.123),
    "d6": (701.738, 702.582),
    "e6e": (842.184, 843.240),
}


@pytest.mark.parametrize("name", COUNTED)
def test_operations_are_those_that_were_counted_for_the_paper(name: str):
    side = VARIANTS[name].image_size
    layers = layers_of(VARIANTS[name], (side, side))
    alone = sum(layer.flops() for layer in layers)
    biases = sum(2 * layer.biased for layer in layers)
    assert (alone / 1e9, (alone + biases) / 1e9) == pytest.approx(COUNTED[name], abs=6e-4)
    if name != "d6":  # whose row in the paper is the training graph's
        assert (alone + biases) / 1e9 == pytest.approx(VARIANTS[name].paper.gflops, rel=0.005)


def test_a_rectangle_costs_its_share_of_the_square():
    square, wide = (sum(layer.flops() for layer in layers_of(VARIANTS["v7"], hw)) for hw in ((640, 640), (384, 640)))
    assert wide / square == pytest.approx(384 / 640)


def test_one_convolution_by_hand():
    """8 to 16 channels, 3x3, stride 2, on 10x20: 16·5·10 outputs of 72 products each."""
    [layer] = count_layers(nn.Conv2d(8, 16, 3, 2, 1, device="meta"), torch.empty(1, 8, 10, 20, device="meta"))
    assert layer == Layer(products=57_600, biased=800, weights=1168, read=1600, written=800)
    assert layer.flops(4) == 4 * 115_200
    assert layer.bytes_moved(2) == 2 * (1168 + 1600 + 800)
    assert layer.bytes_moved(2, batch=4) == 2 * (1168 + 4 * 2400)


def test_the_larger_of_arithmetic_and_memory_is_the_bound():
    roof = Roof(tflops=2.0, gbs=500.0, width=2)
    assert roof.ridge == 4.0
    assert roof.seconds(2e12, 500e9) == 1.0
    assert roof.seconds(1e12, 1000e9) == 2.0
    assert roof.seconds(6e12, 1000e9) == 3.0


def test_layer_by_layer_adds_what_each_waits_for():
    busy = Layer(products=4_000_000, biased=0, weights=0, read=100, written=100)  # 8 µs and 0.8 µs
    hungry = Layer(products=100, biased=0, weights=400_000, read=50_000, written=50_000)  # 0.2 ns and 2 µs
    found = bound([busy, hungry], Roof(tflops=1.0, gbs=500.0, width=2))
    assert found.flops == 8_000_200
    assert found.bytes_moved == 1_000_400
    assert found.whole_s == pytest.approx(8_000_200 / 1e12)
    assert found.layered_s == pytest.approx(8e-6 + 1_000_000 / 500e9)
    assert found.intensity == pytest.approx(8_000_200 / 1_000_400)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("Tesla V100-SXM2-16GB", "V100 SXM2"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA L40S", None),
        ("NVIDIA H100 NVL", None),
    ],
)
def test_cards_are_known_by_what_the_driver_calls_them(reported: str, name: str | None):
    card = find_card(reported)
    assert (card and card.name) == name


def test_wider_numbers_are_never_faster():
    for card in CARDS:
        speeds = [card.peak_tflops[name] for name in ("int8", "fp16", "tf32", "fp32") if name in card.peak_tflops]
        assert speeds == sorted(speeds, reverse=True)
    assert find_roof("T4", "bf16") is None


def test_the_command_takes_a_roof_that_no_data_sheet_has():
    size = ("--variants", "tiny", "--sides", "64", "--batches", "2")
    options = ("--peak-tflops", "1", "--bandwidth-gbs", "10", *size, "--json")
    command = [sys.executable, str(BENCH / "roofline.py"), *options]
    document = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert document["ridge"] == 100
    assert [(row["variant"], row["shape"], row["batch"]) for row in document["rows"]] == [("tiny", "64x64", 2)]
