"""Candidates by themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.vision.detections import Candidates


@given(st.lists(st.floats(0, 1, width=32), max_size=20), st.floats(0, 1, width=32))
def test_rows_below_the_floor_are_dropped_and_the_others_keep_their_order(scores: list[float], floor: float):
    count = len(scores)
    batch = np.random.default_rng(1).random((3, count, 4)).astype(np.float32)
    rows = Candidates(batch[0], np.array(scores, np.float32), *np.arange(2 * count, dtype=np.int32).reshape(2, -1))
    kept = np.flatnonzero(rows.scores >= np.float32(floor))
    above = rows.above(floor)
    for name in ("boxes", "scores", "classes", "predictions"):
        np.testing.assert_array_equal(getattr(above, name), getattr(rows, name)[kept])
    assert not np.shares_memory(above.boxes, batch)
