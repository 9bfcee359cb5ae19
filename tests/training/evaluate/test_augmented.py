"""Three looks at a picture come back in one frame, and both protocols find what a network that reads pixels finds."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.vision.detections import Candidates
from training.data import CocoDataset
from training.evaluate.augmented import LOOKS, augmented, smallest_shapes
from training.evaluate.paper import ROWS, detect_paper, paper_infer
from training.nets import VARIANTS, build_network

BRIGHT = (24, 40, 88, 72)


def bright_spot(images: NDArray[np.uint8]) -> list[Candidates]:
    """One candidate an image: the bounds of what is brighter than the grey around it."""
    found = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0] > 200)
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        found.append(Candidates(box, np.array([0.5], np.float32), np.zeros(1, np.int32), np.array([3], np.int32)))
    return found


def test_each_look_finds_the_same_box_in_the_frame_of_the_first():
    images = np.full((2, 128, 160, 3), 90, np.uint8)
    x1, y1, x2, y2 = BRIGHT
    images[:, y1:y2, x1:x2] = 255
    for candidates in augmented(bright_spot, 32)(images):
        assert len(candidates) == len(LOOKS)
        np.testing.assert_allclose(candidates.boxes, [BRIGHT] * len(LOOKS), atol=1.5)
        assert len(set(candidates.predictions.tolist())) == len(LOOKS)  # of different looks, so different predictions


def test_every_look_is_of_whole_strides_and_the_smallest_is_known():
    shapes = []

    def infer(images: NDArray[np.uint8]) -> list[Candidates]:
        shapes.append(images.shape[1:3])
        return bright_spot(images)

    images = np.full((1, 320, 256, 3), 255, np.uint8)
    augmented(infer, 64)(images)
    assert all(side % 64 == 0 for shape in shapes for side in shape)
    assert smallest_shapes([(320, 256)], 64) == [min(shapes)]


def test_the_paper_s_protocol_answers_every_image_in_its_own_pixels(dataset: CocoDataset):
    sizes = []

    def whole(images: NDArray[np.uint8]) -> list[Candidates]:
        sizes.append(images.shape)
        box = np.array([[0, 0, images.shape[2], images.shape[1]]], np.float32)
        return [Candidates(box, np.array([0.5], np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32))] * len(
            images
        )

    answers = dict(detect_paper(whole, dataset, image_size=96, stride=32))
    assert sizes == [(3, 96, 128, 3)]  # 64 × 96 of picture: half a stride more, then whole strides
    for answer in answers.values():
        np.testing.assert_allclose(answer.boxes, [[0, 0, 300, 200]])


def test_how_many_images_are_seen_at_once_changes_no_rectangle(make_dataset):
    dataset = make_dataset({number: [] for number in range(1, 6)})
    sizes = []

    def nothing(images: NDArray[np.uint8]) -> list[Candidates]:
        sizes.append(images.shape)
        rows = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32)
        return [Candidates(*rows)] * len(images)

    tall = replace(dataset.images[0], width=200, height=300)
    cv2.imwrite(str(tall.path), np.zeros((300, 200, 3), np.uint8))
    mixed = replace(dataset, images=(tall, *dataset.images[1:]))
    assert len(list(detect_paper(nothing, mixed, image_size=96, stride=32, batch_size=2))) == 5
    assert sizes == [(2, 128, 128, 3), (2, 128, 128, 3), (1, 128, 128, 3)]


@pytest.mark.parametrize("classes", [1, 3])
def test_the_paper_s_candidates_are_all_predictions_above_the_threshold(classes: int):
    torch.manual_seed(0)
    network = build_network(VARIANTS["tiny"], num_classes=classes).eval()
    for conv in network.head.lead:
        torch.nn.init.zeros_(conv.conv.bias)
    candidates = paper_infer(network, torch.device("cpu"))(np.zeros((1, 64, 96, 3), np.uint8))[0]
    assert len(candidates) == 3 * (8 * 12 + 4 * 6 + 2 * 3) * classes < ROWS
    assert candidates.scores.min() > 0.001
    assert set(candidates.classes.tolist()) == set(range(classes))
