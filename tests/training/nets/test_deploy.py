from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.nets import VARIANTS, DeployModel, Network, Variant, decode, fuse, to_deploy
from training.nets.deploy import MAX_CANDIDATES, convert
from training.nets.head import DeployHead

Build = Callable[..., Network]


def noise(batch: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (batch, height, width, 3), generator=torch.Generator().manual_seed(8)).byte()


@torch.inference_mode()
def candidates(model: DeployModel, images: Tensor) -> list[NDArray[np.generic]]:
    return [output.numpy() for output in model(images)]


@torch.inference_mode()
def predictions(network: Network, images: Tensor) -> NDArray[np.float32]:
    """What the network says, decoded row by row: (B, N, 5+C)."""
    raws = network(images.permute(0, 3, 1, 2).float() / 255)
    return decode(raws, network.anchors, network.strides).numpy()


@pytest.mark.parametrize("change", [convert, fuse, to_deploy])
def test_every_form_computes_what_the_trained_network_does(
    change: Callable[[Network], Network], toy: Variant, filled: Build
) -> None:
    network, images = filled(toy), noise(2, 64, 96)
    np.testing.assert_allclose(predictions(change(network), images), predictions(network, images), 1e-4, 1e-4)


def test_conversion_drops_what_only_training_needs(toy: Variant, filled: Build) -> None:
    network = convert(filled(toy))
    assert isinstance(network.head, DeployHead)
    assert network.form == "deploy"
    assert set(network.rows) == {row.name for row in toy.rows}
    assert network.state_dict().keys() == filled(toy, "deploy").state_dict().keys()


def test_the_trained_network_is_left_alone(toy: Variant, filled: Build) -> None:
    network = filled(toy).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for parameter in [*to_deploy(network).parameters(), *convert(network).parameters()]:
        parameter.data.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert network.training


def test_converting_twice_is_converting_once(toy: Variant, filled: Build) -> None:
    once = to_deploy(filled(toy))
    twice = to_deploy(once)
    assert all(torch.equal(tensor, twice.state_dict()[key]) for key, tensor in once.state_dict().items())


@pytest.mark.parametrize("name", ["tiny", pytest.param("v7", marks=pytest.mark.long)])
def test_candidates_are_the_best_pairs_of_all(name: str, filled: Build) -> None:
    network, images = filled(VARIANTS[name], num_classes=7), noise(2, 128, 96)
    boxes, scores, classes, rows = candidates(DeployModel(network, 150), images)
    decoded = predictions(to_deploy(network), images)
    pairs = decoded[..., 4:5] * decoded[..., 5:]
    for image in range(2):
        best = np.sort(pairs[image].ravel())[::-1][:150]
        np.testing.assert_allclose(scores[image], best, 1e-5)
        np.testing.assert_allclose(scores[image], pairs[image][rows[image], classes[image]], 1e-5)
        assert len({*zip(rows[image].tolist(), classes[image].tolist(), strict=True)}) == 150
        centre, size = np.split(decoded[image, rows[image], :4], 2, axis=1)
        np.testing.assert_allclose(boxes[image], np.hstack([centre - size / 2, centre + size / 2]), 1e-4, 1e-3)


def test_with_one_class_the_score_is_objectness_alone(toy: Variant, filled: Build) -> None:
    network, images = filled(toy, num_classes=1), noise(1, 64, 64)
    _, scores, classes, rows = candidates(DeployModel(network, 40), images)
    objectness = predictions(to_deploy(network), images)[0, :, 4]
    np.testing.assert_allclose(scores[0], np.sort(objectness)[::-1][:40], 1e-5)
    np.testing.assert_allclose(scores[0], objectness[rows[0]], 1e-5)
    assert not classes.any()


def test_dtypes_and_shapes_are_the_contract(toy: Variant, filled: Build) -> None:
    outputs = candidates(DeployModel(filled(toy, num_classes=3), 60), noise(2, 64, 96))
    assert [output.shape for output in outputs] == [(2, 60, 4), (2, 60), (2, 60), (2, 60)]
    assert [output.dtype for output in outputs] == [np.float32, np.float32, np.int32, np.int32]


def test_no_batch_mate_changes_a_candidate(toy: Variant, filled: Build) -> None:
    model, images = DeployModel(filled(toy), 50), noise(3, 96, 64)
    together = candidates(model, images)
    for image in range(3):
        for output, alone in zip(together, candidates(model, images[image : image + 1]), strict=True):
            np.testing.assert_allclose(output[image], alone[0], 1e-4, 1e-3)


@pytest.mark.parametrize("count", [0, MAX_CANDIDATES + 1])
def test_more_candidates_than_tensorrt_can_rank_are_refused(count: int, toy: Variant, filled: Build) -> None:
    with pytest.raises(ValueError, match=r"max_candidates must lie in 1\.\.3840"):
        DeployModel(filled(toy), count)


def test_too_small_an_image_for_k_predictions_fails_rather_than_answers(toy: Variant, filled: Build) -> None:
    with pytest.raises(RuntimeError, match="out of range"):
        DeployModel(filled(toy), 61)(noise(1, 32, 32))
