import json

import pytest

from training.data.rectangles import rectangles


@pytest.mark.parametrize("case", range(4))
def test_golden(golden, case):
    meta = json.loads((golden / "rect_batches.json").read_text())[case]
    plan = rectangles(meta["wh"], meta["batch"], image_size=meta["img"], stride=meta["stride"], pad=meta["pad"])
    assert [index for batch in plan for index in batch.indices] == meta["order"]
    assert [list(batch.shape_hw) for batch in plan] == meta["batch_shapes_hw"]


def test_no_images_are_no_batches():
    assert rectangles([], 4, image_size=64, stride=32) == []
