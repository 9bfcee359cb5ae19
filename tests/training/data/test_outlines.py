import numpy as np
import pytest

from training.config import Augmentation
from training.data.geometry import AffineDraw
from training.data.outlines import POINTS, outline_boxes, project, spread

SIZE = (100, 80)


def by_definition(outlines, matrix) -> np.ndarray:
    boxes = []
    for outline in outlines:
        closed = np.concatenate((outline, outline[:1])).astype(np.float64)
        at, knots = np.linspace(0, len(outline), POINTS), np.arange(len(closed))
        points = project(matrix, np.stack([np.interp(at, knots, closed[:, axis]) for axis in (0, 1)], axis=1))
        points = points[((points >= 0) & (points <= SIZE[::-1])).all(axis=1)]
        boxes.append((*points.min(axis=0), *points.max(axis=0)) if len(points) else (0, 0, 0, 0))
    return np.array(boxes)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("perspective", [0.0, 0.001])
def test_boxes_are_those_of_all_the_points(seed, perspective):
    rng = np.random.default_rng(seed)
    outlines = [
        (rng.uniform(-20, 120, 2) + rng.uniform(-25, 25, (rng.integers(1, 40), 2))).astype(np.float32)
        for _ in range(25)
    ]
    recipe = Augmentation(degrees=60, shear=15, scale=0.8, translate=0.4, perspective=perspective)
    matrix = AffineDraw.sample(rng, recipe).matrix((100, 100), SIZE)
    found = outline_boxes(outlines, matrix, SIZE)
    np.testing.assert_allclose(found, by_definition(outlines, matrix), atol=1e-9)


def test_the_cases_of_the_test_above_are_all_there():
    outline = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    inside, crossing, outside = (outline + offset for offset in (20, (75, 20), 200))
    boxes = outline_boxes([inside, crossing, outside], np.eye(3), SIZE)
    np.testing.assert_allclose(boxes, [[20, 20, 30, 30], [75, 20, 80, 30], [0, 0, 0, 0]], atol=0.05)


def test_every_edge_has_as_many_points():
    triangle = np.array([[0, 0], [90, 0], [0, 9]], np.float32)
    points = spread([triangle])[0]
    on_edge = [(points[:, 1] == 0).sum(), (points[:, 0] == 0).sum()]
    assert on_edge == pytest.approx([POINTS / 3] * 2, abs=2)
