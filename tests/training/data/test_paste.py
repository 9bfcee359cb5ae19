import numpy as np
import pytest

from training.data.paste import ENOUGH, TRIES, CutOut, collect, paste_in
from training.data.sample import Labels, Sample

SQUARE = np.array([[10, 10], [50, 10], [50, 50], [10, 50]], np.float32)
DISC = (30 + 20 * np.stack([np.cos(np.linspace(0, 6.28, 40)), np.sin(np.linspace(0, 6.28, 40))], 1)).astype(np.float32)


def sample(outlines: tuple[np.ndarray | None, ...], value: int = 200) -> Sample:
    boxes = np.array([[10, 10, 50, 50]] * len(outlines), np.float32).reshape(-1, 4)
    labels = Labels(boxes, np.arange(len(outlines)), outlines if any(o is not None for o in outlines) else ())
    return Sample(np.full((60, 60, 3), value, np.uint8), labels)


def empty(side: int = 200) -> Sample:
    return Sample(np.zeros((side, side, 3), np.uint8), Labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))


@pytest.mark.parametrize("seed", range(8))
def test_every_box_is_the_rectangle_pasted_and_only_its_mask_is_covered(seed):
    pasted = paste_in(empty(), [CutOut(sample(()).image, SQUARE, 7)], np.random.default_rng(seed))
    covered = np.zeros((200, 200), bool)
    for x1, y1, x2, y2 in pasted.labels.boxes.astype(int):
        covered[y1:y2, x1:x2] = True
    assert len(pasted.labels) > 0
    assert (pasted.labels.classes == 7).all()
    np.testing.assert_array_equal(pasted.image[..., 0] > 0, covered)


def test_a_round_object_leaves_its_corners_out():
    pixels, mask = CutOut(sample(()).image, DISC, 0).scaled_into(100, 80)
    assert pixels.shape == (80, 80, 3)
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.03)
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_there_stays_visible(seed):
    rng = np.random.default_rng(seed)
    there = empty()
    there = Sample(there.image, Labels(np.array([[60, 60, 140, 140]], np.float32), np.array([1])))
    pasted = paste_in(there, [CutOut(sample(()).image, SQUARE, 7)], rng)
    first = pasted.image[60:140, 60:140, 0]
    assert pasted.labels.boxes[0].tolist() == [60, 60, 140, 140]
    assert (first > 0).mean() < 0.3 * (len(pasted.labels) - 1) + 1e-9
    assert not there.image.any()


def test_small_pictures_have_no_room():
    pasted = paste_in(empty(20), [CutOut(sample(()).image, SQUARE, 7)], np.random.default_rng(0))
    assert len(pasted.labels) == 0


def test_half_of_the_outlined_objects_are_taken_until_there_are_enough():
    drawn = []

    def draw() -> Sample:
        drawn.append(sample((SQUARE, None, SQUARE)))
        return drawn[-1]

    found = collect(np.random.default_rng(0), draw)
    assert ENOUGH <= len(found) < ENOUGH + 4
    assert len(drawn) == 4 * -(-ENOUGH // 4)
    assert {cut.kind for cut in found} == {0, 2}


def test_a_set_with_boxes_only_gives_nothing_and_is_asked_once():
    drawn = []
    assert collect(np.random.default_rng(0), lambda: drawn.append(1) or sample((None, None))) == []
    assert len(drawn) == 4
    before = empty()
    assert paste_in(before, [], np.random.default_rng(0)) is before


def test_there_are_as_many_tries_as_published():
    assert len(TRIES) == 20


def test_an_outline_outside_its_image_gives_nothing():
    pixels, mask = CutOut(sample(()).image, SQUARE + 100, 0).scaled_into(50, 50)
    assert pixels.size == mask.size == 0
