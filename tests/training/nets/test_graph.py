import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.nets import VARIANTS, Network, Variant, build_network, fuse
from training.nets.rows import GraphError
from training.nets.stages import Elan
from training.nets.variants import Form

# Entries of the official graph, and keys before and after fusing.
SIZES = {
    "tiny": ((78, 344, 124), (78, 338, 118)),
    "tiny-silu": ((78, 344, 124), (78, 338, 118)),
    "v7": ((106, 566, 192), (106, 560, 186)),
    "x": ((122, 644, 224), (122, 638, 218)),
    "w6": ((123, 668, 240), (119, 628, 216)),
    "e6": ((145, 896, 316), (141, 856, 292)),
    "d6": ((167, 1028, 360), (163, 988, 336)),
    "e6e": ((266, 1490, 514), (262, 1450, 490)),
}
GOLDEN_GRAPHS = [
    ("tiny", "train"),
    ("tiny", "deploy"),
    ("tiny-silu", "deploy"),
    ("v7", "train"),
    ("v7", "deploy"),
    ("w6", "train"),
    ("w6", "deploy"),
    ("d6", "deploy"),
]


@functools.cache
def on_meta(name: str, form: Form) -> Network:
    with torch.device("meta"):
        return build_network(VARIANTS[name], num_classes=80, form=form).eval()


@functools.cache
def fused_on_meta(name: str, form: Form) -> Network:
    return fuse(on_meta(name, form))


def named_shapes(network: Network) -> list[list[object]]:
    state = network.state_dict()
    return [[official, list(state[key].shape)] for key, official in network.official_keys().items()]


@pytest.mark.parametrize(("name", "form"), GOLDEN_GRAPHS)
def test_official_keys_are_the_references_in_name_shape_and_order(name: str, form: str, golden: Path) -> None:
    table = json.loads((golden / f"keys_{name}-{form}.json").read_text())
    ours: Form = "deploy" if form == "deploy" else "training"
    assert named_shapes(on_meta(name, ours)) == [[key, shape] for key, shape, _ in table["keys"]]
    assert named_shapes(fused_on_meta(name, ours)) == [[key, shape] for key, shape in table["fused_keys"]]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("form", ["training", "deploy"])
def test_every_graph_has_the_references_entries(name: str, form: Form) -> None:
    keys = list(on_meta(name, form).official_keys().values())
    entries = int(keys[-1].split(".")[1]) + 1
    assert (entries, len(set(keys)), len(fused_on_meta(name, form).official_keys())) == SIZES[name][form == "deploy"]


@pytest.mark.parametrize("name", VARIANTS)
def test_answers_one_map_per_level_and_again_per_auxiliary_level(name: str) -> None:
    variant = VARIANTS[name]
    outputs = fused_on_meta(name, "training")(torch.empty(2, 3, 192, 128, device="meta"))
    lead = [(2, 3, 192 // stride, 128 // stride, 85) for stride in variant.strides]
    assert [tuple(output.shape) for output in outputs] == lead * (2 if variant.aux_rows else 1)


def test_auxiliary_rows_of_e6e_read_the_second_elan_before_the_sum() -> None:
    steps = on_meta("e6e", "training")._steps
    sources = [step.sources for step in steps if step.row.name.startswith("aux")]
    assert sources == [("f3_second",), ("f4_second",), ("f5_second",), ("top",)]


def test_anchors_are_pixels_and_official_tables_hold_both_units(toy: Variant) -> None:
    network = build_network(toy, num_classes=3)
    assert network.anchors.tolist() == [[list(anchor) for anchor in level] for level in toy.anchors]
    assert torch.equal(network.head.anchors.cells * torch.tensor([8.0, 16.0]).view(2, 1, 1), network.anchors)
    assert network.head.anchors.pixels.shape == (2, 1, 3, 1, 1, 2)


def test_a_fresh_network_has_the_papers_normalisation_and_pristine_statistics(toy: Variant) -> None:
    norms = [module for module in build_network(toy, num_classes=3).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    assert all(not norm.running_mean.any() and (norm.running_var == 1).all() for norm in norms)
    assert all(norm.num_batches_tracked == 0 for norm in norms)


def test_head_biases_start_at_the_prior_for_640_pixels(toy: Variant) -> None:
    biases = [conv.bias.view(3, -1) for conv in build_network(toy, num_classes=400).head.aux]
    for bias, stride in zip(biases, toy.strides, strict=True):
        assert torch.allclose(bias[:, 4], torch.tensor(math.log(8 / (640 / stride) ** 2)), atol=0.36)  # ± 1/√fan-in
        assert bias[:, 5:].mean().item() == pytest.approx(math.log(0.6 / 399.01), abs=0.05)


def test_no_batch_mate_changes_an_answer(toy: Variant, filled: Callable[..., Network]) -> None:
    network = filled(toy)
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together, alone = network(images), [network(image[None]) for image in images]
    for level, output in enumerate(together):
        torch.testing.assert_close(output, torch.cat([outputs[level] for outputs in alone]), rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_the_network_is_one_compiled_graph(toy: Variant, filled: Callable[..., Network]) -> None:
    network = filled(toy)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    graph = torch.compile(network, backend="eager", fullgraph=True)
    for output, other in zip(network(images), graph(images), strict=True):
        assert torch.equal(output, other)


def test_memory_format_changes_nothing(toy: Variant, filled: Callable[..., Network]) -> None:
    network = filled(toy)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    plain = network(images)
    last: list[Tensor] = network.to(memory_format=torch.channels_last)(images)
    for output, other in zip(plain, last, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns(toy: Variant) -> None:
    network = build_network(toy, num_classes=3)
    sum(output.square().mean() for output in network(torch.rand(2, 3, 64, 64))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_maps_are_dropped_after_their_last_reader(toy: Variant) -> None:
    steps = build_network(toy, num_classes=3, form="deploy")._steps
    made = {"image", *(step.row.name for step in steps)}
    assert made - {name for step in steps for name in step.last_read} == set(toy.lead)


def test_strides_that_are_not_the_variants_are_refused(toy: Variant) -> None:
    with pytest.raises(GraphError, match=r"the head reads strides \(8, 16\), the variant's are \(8, 32\)"):
        build_network(replace(toy, strides=(8, 32)), num_classes=3, form="deploy")


def test_an_elan_keeps_every_second_link_newest_first(toy: Variant) -> None:
    elan = build_network(toy, num_classes=3).eval().block("c4_first")
    assert isinstance(elan, Elan)
    x = torch.rand(1, 16, 4, 4)
    entry = elan.entry(x)
    last = elan.chain[1](elan.chain[0](entry))
    assert torch.equal(elan(x), elan.transition(torch.cat([last, entry, elan.side(x)], 1)))
