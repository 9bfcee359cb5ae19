"""The candidate search against the reference's, a slow search, and what holds for any target."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.assign import COARSE_REACH, FINE_REACH, Cells, Pyramid, find_candidates

PYRAMID = Pyramid.of(
    (128, 160),
    anchors_px=torch.tensor([[[10, 13], [16, 30]], [[30, 61], [62, 45]]]).float(),
    strides=torch.tensor([8.0, 16.0]),
)
DIRECTIONS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))


def random_targets(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 3, (count, 1), generator=generator).float()
    extent = torch.rand(count, 2, generator=generator) ** 2
    return torch.cat((image, torch.zeros(count, 1), torch.rand(count, 2, generator=generator), extent), dim=1)


def search(targets: Tensor, *, reach: float, threshold: float = 4.0) -> list[tuple[int, ...]]:
    """Say the rule in loops: (level, image, anchor, row, column, target) in candidate order."""
    found = []
    for level, ((width, height), anchors) in enumerate(zip(PYRAMID.sizes.tolist(), PYRAMID.anchors, strict=True)):
        size = torch.tensor([width, height])
        for (dx, dy), anchor, number in product(DIRECTIONS, range(len(anchors)), range(len(targets))):
            centre, extent = targets[number, 2:4] * size, targets[number, 4:6] * size
            ratio = torch.maximum(extent / anchors[anchor], anchors[anchor] / extent).max()
            edges = {(0, 0): None, (-1, 0): centre[0], (0, -1): centre[1]}
            edges |= {(1, 0): width - centre[0], (0, 1): height - centre[1]}
            edge = edges[dx, dy]
            if ratio < threshold and (edge is None or (edge % 1 < reach and edge > 1)):
                column, row = (centre + reach * torch.tensor([dx, dy])).int().tolist()
                image = int(targets[number, 0])
                found.append((level, image, anchor, min(row, int(height) - 1), min(column, int(width) - 1), number))
    return found


def listed(cells: Cells) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack((cells.level, *cells.position, cells.target)).T.tolist()]


@pytest.mark.parametrize("reach", [FINE_REACH, COARSE_REACH])
def test_finds_what_a_slow_search_finds_in_the_same_order(reach: float) -> None:
    targets = random_targets(40)
    assert listed(find_candidates(targets, PYRAMID, threshold=4.0, reach=reach)) == search(targets, reach=reach)


@pytest.mark.parametrize(
    ("name", "key", "reach"),
    [
        ("tiny_ota", "cand", FINE_REACH),
        ("v7_ota", "cand", FINE_REACH),
        ("w6_aux", "cand", FINE_REACH),
        ("w6_aux", "cand_aux", COARSE_REACH),
        ("w6_plain", "cand", FINE_REACH),
    ],
)
def test_candidates_are_the_references(scene: Callable[[str], Any], name: str, key: str, reach: float) -> None:
    golden = scene(name)
    cells = find_candidates(golden.targets, golden.pyramid, threshold=4.0, reach=reach)
    for i, part in enumerate(cells.position.split(cells.per_level, dim=1)):
        np.testing.assert_array_equal(part.T, golden.numbers[f"{key}{i}"])


@pytest.mark.parametrize("name", ["v7_plain", "w6_plain"])
def test_candidates_own_the_references_targets(scene: Callable[[str], Any], name: str) -> None:
    golden = scene(name)
    cells = find_candidates(golden.targets, golden.pyramid, threshold=4.0, reach=FINE_REACH)
    boxes = golden.targets[cells.target, 2:] * golden.pyramid.sizes[cells.level].repeat(1, 2)
    boxes[:, :2] -= cells.corner
    classes = golden.targets[cells.target, 1]
    numbers = golden.numbers
    for i, (box, label) in enumerate(zip(boxes.split(cells.per_level), classes.split(cells.per_level), strict=True)):
        np.testing.assert_allclose(box, numbers[f"tbox{i}"], atol=1e-5)
        np.testing.assert_array_equal(label, numbers[f"tcls{i}"])


def test_coarse_candidates_include_the_fine_ones() -> None:
    targets = random_targets(200, seed=1)
    fine, coarse = (
        set(listed(find_candidates(targets, PYRAMID, threshold=4.0, reach=reach)))
        for reach in (FINE_REACH, COARSE_REACH)
    )
    assert fine < coarse


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_centre_on_the_border_stays_inside(at: float) -> None:
    targets = torch.tensor([[0, 0, at, at, 0.1, 0.15]])
    cells = find_candidates(targets, PYRAMID, threshold=4.0, reach=COARSE_REACH)
    assert len(cells.level)
    assert (cells.corner >= 0).all()
    assert (cells.corner < PYRAMID.sizes[cells.level]).all()


def test_decoding_keeps_the_centre_within_half_a_cell_around() -> None:
    cells = find_candidates(random_targets(20), PYRAMID, threshold=4.0, reach=FINE_REACH)
    extreme = torch.tensor([-99.0, 99.0, -99.0, 99.0, 0.0]).repeat(len(cells.level), 1)
    boxes = cells.boxes(extreme, PYRAMID)
    limits = torch.tensor([-0.5, 1.5]).expand(len(boxes), 2)
    torch.testing.assert_close(boxes[:, :2], limits)
    torch.testing.assert_close(boxes[:, 3], 4 * PYRAMID.anchors[cells.level, cells.position[1], 1])


def test_a_coarse_decoder_reaches_a_whole_cell_around() -> None:
    cells = find_candidates(random_targets(20), PYRAMID, threshold=4.0, reach=COARSE_REACH)
    extreme = torch.tensor([-99.0, 99.0, 0.0, 0.0, 0.0]).repeat(len(cells.level), 1)
    boxes = cells.boxes(extreme, PYRAMID, reach=COARSE_REACH)
    torch.testing.assert_close(boxes[:, :2], torch.tensor([-1.0, 2.0]).expand(len(boxes), 2))


def test_the_image_with_most_candidates_is_counted() -> None:
    cells = find_candidates(random_targets(40), PYRAMID, threshold=4.0, reach=FINE_REACH)
    assert cells.most == max((cells.image == image).sum() for image in range(3))
    assert find_candidates(torch.zeros(0, 6), PYRAMID, threshold=4.0, reach=FINE_REACH).most == 0


def test_rows_come_from_the_cells_named() -> None:
    cells = find_candidates(random_targets(20), PYRAMID, threshold=4.0, reach=FINE_REACH)
    grids = [(3, 2, 16, 20), (3, 2, 8, 10)]
    outputs = [torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), dim=-1) for grid in grids]
    assert torch.equal(cells.rows(outputs), cells.position.T.float())
