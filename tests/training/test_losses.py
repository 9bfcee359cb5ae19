"""The criterion against the reference's losses and gradients, and what it promises beyond them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from training.boxes import complete_iou
from training.config import Loss
from training.losses import Criterion, _last_owner

SCENES = ("tiny_ota", "v7_ota", "v7_plain", "w6_aux", "w6_plain")
TERMS = ("box", "objectness", "classification")
ANCHORS_PX = torch.tensor([[[10, 13], [16, 30]], [[30, 61], [62, 45]]])


def criterion(loss: Loss | None = None, num_classes: int = 3) -> Criterion:
    """Two levels of two anchors, for images of 64 pixels."""
    return Criterion(loss or Loss(), num_classes=num_classes, strides=(8, 16), anchors_px=ANCHORS_PX, image_size=64)


def logits(num_classes: int = 3, images: int = 2, heads: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(images, 2, side, side, 5 + num_classes) for side in (8, 4)] * heads
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name", SCENES)
def test_terms_are_the_references(scene: Callable[[str], Any], name: str) -> None:
    golden = scene(name)
    terms = golden.loss()
    items = [golden.criterion.weights[term] * terms[term].item() for term in TERMS]
    np.testing.assert_allclose([*items, sum(items)], golden.numbers["items"], rtol=1e-5)


@pytest.mark.parametrize("name", SCENES)
def test_gradients_are_the_references(scene: Callable[[str], Any], name: str) -> None:
    golden, weights = scene(name), scene(name).criterion.weights
    loss = sum(weights[term] * value for term, value in golden.loss().items()) * golden.meta["B"]
    loss.backward()
    for i, output in enumerate(golden.outputs):
        parts = [output.grad[..., slice(*ends)] for ends in ((0, 2), (2, 4), (4, 5), (5, None), (0, None))]
        norms = [part.double().norm().item() for part in parts]
        np.testing.assert_allclose(norms, golden.numbers[f"gnorm{i}"], rtol=1e-4)
        positives = golden.numbers[f"gpos{i}"]
        np.testing.assert_array_equal((output.grad[..., :4] != 0).any(dim=-1).nonzero(), positives)
        rows = output.grad[tuple(positives.T)][:, :5]
        np.testing.assert_allclose(rows, golden.numbers[f"gbox{i}"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SCENES)
def test_gains_scale_as_in_the_reference(scene: Callable[[str], Any], name: str) -> None:
    golden = scene(name)
    gains = [golden.meta["hyp"][key] for key in ("box", "obj", "cls")]
    assert [golden.criterion.weights[term] for term in TERMS] == pytest.approx(gains)


@pytest.mark.parametrize("assigner", ["ota", "plain"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("targets", [torch.zeros(0, 6), torch.tensor([[1, 2, 0.5, 0.5, 0.001, 0.9]])])
def test_nothing_to_match_trains_objectness_alone(assigner: Any, heads: int, targets: Tensor) -> None:
    outputs = logits(heads=heads)
    terms = criterion(Loss(assigner=assigner))(outputs, targets, (64, 64))
    assert (terms["box"], terms["classification"]) == (0, 0)
    sum(terms.values()).backward()
    for output in outputs:
        assert (output.grad[..., 4] > 0).all()  # every cell learns that it holds nothing
        assert not output.grad[..., [0, 1, 2, 3, 5, 6, 7]].any()


def test_autocast_and_half_precision_change_nothing(scene: Callable[[str], Any]) -> None:
    golden = scene("v7_ota")
    golden.outputs[:] = [output.detach().bfloat16() for output in golden.outputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = golden.loss()
    golden.outputs[:] = [output.float() for output in golden.outputs]
    assert under_autocast == golden.loss()
    assert all(term.dtype == torch.float32 for term in under_autocast.values())


def test_the_order_of_images_does_not_matter(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    expected = golden.loss()
    golden.outputs[:] = [output.flip(0) for output in golden.outputs]
    golden.targets[:, 0] = golden.meta["B"] - 1 - golden.targets[:, 0]
    torch.testing.assert_close(golden.loss(), expected)


def test_one_class_is_left_to_objectness() -> None:
    terms = criterion(num_classes=1)(logits(num_classes=1), torch.tensor([[0, 0, 0.4, 0.4, 0.3, 0.4]]), (64, 64))
    assert terms["classification"] == 0
    assert terms["box"] > 0


def test_auxiliary_head_adds_its_share() -> None:
    outputs, targets = logits(heads=2), torch.tensor([[0, 1, 0.4, 0.6, 0.3, 0.4]])
    none, some, twice = (criterion(Loss(auxiliary=share))(outputs, targets, (64, 64)) for share in (0, 0.25, 0.5))
    for name in TERMS:
        torch.testing.assert_close(twice[name] - none[name], 2 * (some[name] - none[name]))
        assert some[name] > none[name]


def test_smoothing_moves_class_targets_inwards() -> None:
    values, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    wanted = torch.full((4, 3), 0.05).scatter(1, classes[:, None], 0.95)
    found = criterion(Loss(label_smoothing=0.1))._classification(values, classes, torch.full((4,), 0.25))
    torch.testing.assert_close(found, binary_cross_entropy_with_logits(values, wanted))


def test_focal_factor_spares_what_is_already_right() -> None:
    values, wanted = torch.tensor([3.0, -3.0, 3.0]), torch.tensor([1.0, 0.0, 0.0])
    entropy = binary_cross_entropy_with_logits(values, wanted, reduction="none")
    error = torch.tensor([1 - torch.sigmoid(values[0]), torch.sigmoid(values[1]), torch.sigmoid(values[2])])
    expected = entropy * torch.tensor([0.25, 0.75, 0.75]) * error**1.5
    torch.testing.assert_close(criterion(Loss(focal_gamma=1.5))._cross_entropy(values, wanted), expected)


def test_the_last_owner_of_a_cell_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    position = torch.randint(0, 3, (4, 200), generator=generator)  # 81 cells for 200 owners
    value = torch.rand(200, generator=generator)
    positive = torch.rand(200, generator=generator) < 0.5
    expected = torch.zeros(3, 3, 3, 3)
    for at, number in zip(position.T[positive].tolist(), value[positive], strict=True):
        expected[tuple(at)] = number
    assert torch.equal(_last_owner(value, position, positive, shape=expected.shape), expected)


def test_terms_of_two_processes_add_up_to_those_of_the_whole_batch(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    whole, half = golden.loss(), golden.meta["B"] // 2
    second = golden.targets[:, 0] >= half
    shares = [golden.targets[~second], golden.targets[second] - torch.tensor([half, 0, 0, 0, 0, 0])]
    parts = [[output[:half] for output in golden.outputs], [output[half:] for output in golden.outputs]]
    counts: list[Tensor] = []

    def shared(reduce_sum: Callable[[Tensor], Tensor]) -> list[dict[str, Tensor]]:
        golden.criterion.reduce_sum = reduce_sum
        both = zip(parts, shares, strict=True)
        return [golden.criterion(outputs, targets, (golden.side, golden.side)) for outputs, targets in both]

    shared(lambda count: counts.append(count) or count)
    first, other = shared(lambda _: counts[0] + counts[1])
    torch.testing.assert_close({name: first[name] + other[name] for name in TERMS}, whole)


@pytest.mark.parametrize("assigner", ["ota", "plain"])
@pytest.mark.parametrize("heads", [1, 2])
def test_no_shape_depends_on_a_value_that_lies_on_the_device(assigner: Any, heads: int) -> None:
    outputs = [output.detach().to("meta").requires_grad_() for output in logits(heads=heads)]
    targets = torch.tensor([[0, 1, 0.4, 0.6, 0.3, 0.4], [1, 0, 0.5, 0.5, 0.2, 0.2], [1, 2, 0.5, 0.5, 0.2, 0.3]])
    terms = criterion(Loss(assigner=assigner))(outputs, targets, (64, 64))  # meta tensors have no values to look at
    sum(terms.values()).backward()
    assert all(output.grad.shape == output.shape for output in outputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("heads", [1, 2])
def test_loss_and_backward_never_wait_for_the_gpu(heads: int) -> None:
    device = torch.device("cuda")
    outputs = [output.detach().to(device).requires_grad_() for output in logits(heads=heads)]
    targets = torch.tensor([[0, 1, 0.4, 0.6, 0.3, 0.4], [1, 2, 0.5, 0.5, 0.2, 0.3]])
    expected = criterion()([output.detach().cpu() for output in outputs], targets, (64, 64))
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = criterion()(outputs, targets, (64, 64))
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close({name: term.cpu() for name, term in terms.items()}, expected)


def test_an_auxiliary_head_is_trained_as_the_recipe_says() -> None:
    outputs = logits(heads=2, images=4)
    generator = torch.Generator().manual_seed(3)
    extent = torch.rand(30, 4, generator=generator) * 0.6 + 0.2
    targets = torch.cat((torch.arange(30)[:, None] % 4, torch.arange(30)[:, None] % 3, extent), dim=1)
    seen: dict[str, Tensor] = {}
    for name in ("coarse-to-fine", "lead-guided", "independent"):
        judge = criterion(Loss(auxiliary_assigner=name))
        judge.reduce_sum = lambda count, name=name: seen.setdefault(name, count)
        judge(outputs, targets, (64, 64))
    lead, guided, coarse, own = (
        seen["lead-guided"][1:3],
        *(seen[n][3:] for n in ("lead-guided", "coarse-to-fine", "independent")),
    )
    assert torch.equal(lead, guided)  # the lead's positives are the auxiliary head's too
    assert coarse.sum() > lead.sum()
    assert not torch.equal(own, lead)


@pytest.mark.parametrize(("assigner", "reaches_further"), [("coarse-to-fine", True), ("lead-guided", False)])
def test_an_unbounded_decoder_reaches_as_far_as_its_candidates(assigner: Any, reaches_further: bool) -> None:
    outputs, targets = logits(heads=2), torch.tensor([[0, 1, 0.4, 0.6, 0.3, 0.4], [1, 2, 0.5, 0.5, 0.2, 0.3]])
    bounded, unbounded = (
        criterion(Loss(auxiliary_assigner=assigner, auxiliary_bounded=bound))(outputs, targets, (64, 64))
        for bound in (True, False)
    )
    assert (bounded["box"] != unbounded["box"]) == reaches_further
    assert bounded["classification"] == unbounded["classification"]


def focal(values: Tensor, wanted: Tensor, gamma: float) -> Tensor:
    """Mean cross-entropy times (1 - p_t)^gamma and a quarter for ones, three for zeros; each case by itself."""
    right = wanted * values.sigmoid() + (1 - wanted) * (1 - values.sigmoid())
    entropy = binary_cross_entropy_with_logits(values, wanted, reduction="none")
    return ((0.25 * wanted + 0.75 * (1 - wanted)) * (1 - right) ** gamma * entropy).mean()


def level_by_hand(golden: Any, output: Tensor, level: int, suffix: str, *, gamma: float, epsilon: float) -> Tensor:
    """Box, objectness and classification of one level from the reference's own positives."""
    cells = torch.from_numpy(golden.numbers[f"pos{suffix}{level}"]).long()
    truth = torch.from_numpy(golden.numbers[f"ptgt{suffix}{level}"])
    image, anchor, row, column = cells.T
    pyramid, values = golden.pyramid, output[image, anchor, row, column]
    boxes = truth[:, 2:] * pyramid.sizes[level].repeat(2)
    boxes[:, :2] -= torch.stack((column, row), dim=1)
    size = (2 * values[:, 2:4].sigmoid()) ** 2 * pyramid.anchors[level, anchor]
    overlap = complete_iou(torch.cat((2 * values[:, :2].sigmoid() - 0.5, size), dim=1), boxes)
    wanted = torch.zeros(output.shape[:-1])
    for at, value in zip(cells.tolist(), overlap.detach().clamp(min=0), strict=True):
        wanted[tuple(at)] = value
    classes = torch.full((len(cells), 80), 0.5 * epsilon)
    classes[range(len(cells)), truth[:, 1].long()] = 1 - 0.5 * epsilon
    objectness = (4.0, 1.0, 0.25, 0.06)[level] * focal(output[..., 4], wanted, gamma)
    return torch.stack(((1 - overlap).mean(), objectness, focal(values[:, 5:], classes, gamma)))


def test_options_of_the_loss_on_auxiliary_heads_are_the_formulas(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    golden.criterion.loss = Loss(focal_gamma=1.5, label_smoothing=0.1)
    expected = torch.zeros(3)
    for i, output in enumerate(golden.outputs):
        suffix, weight = ("", 1.0) if i < 4 else ("_aux", 0.25)
        expected += weight * level_by_hand(golden, output, i % 4, suffix, gamma=1.5, epsilon=0.1)
    terms = golden.loss()
    torch.testing.assert_close(torch.stack([terms[name] for name in TERMS]), expected, rtol=1e-5, atol=1e-6)
