import numpy as np
import pytest

from training.data.sample import Labels

OUTLINE = np.array([[2, 3], [6, 3], [4, 9]], np.float32)
LABELS = Labels(np.array([[2, 3, 6, 9], [-4, 0, 5, 5]], np.float32), np.array([1, 0]), (OUTLINE, None))


def assert_around_outline(labels: Labels) -> None:
    outline = labels.outlines[0]
    np.testing.assert_allclose(labels.boxes[0], [*outline.min(axis=0), *outline.max(axis=0)], rtol=1e-6)


@pytest.mark.parametrize(
    "moved",
    [LABELS.scaled(2, 0.5), LABELS.shifted(-3, 7), LABELS.clipped(5, 8), LABELS.scaled(-1, 1), LABELS.scaled(1, -2)],
)
def test_boxes_and_outlines_move_together(moved):
    assert_around_outline(moved)
    assert moved.outlines[1] is None
    assert moved.boxes.dtype == np.float32
    assert (moved.boxes[:, :2] <= moved.boxes[:, 2:]).all()


def test_clipping_keeps_what_lies_outside_without_area():
    clipped = LABELS.shifted(100, 0).clipped(50, 50)
    np.testing.assert_array_equal(clipped.boxes[:, [0, 2]], 50)
    assert len(clipped) == 2


def test_joining_keeps_order_and_knows_which_outlines_are_missing():
    plain = Labels(np.zeros((2, 4), np.float32), np.array([7, 8]))
    joined = Labels.join([plain, LABELS])
    np.testing.assert_array_equal(joined.classes, [7, 8, 1, 0])
    assert [outline is None for outline in joined.outlines] == [True, True, False, True]
    assert Labels.join([plain, plain]).outlines == ()
