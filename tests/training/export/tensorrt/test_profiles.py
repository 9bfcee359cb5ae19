"""Optimisation profiles cover every input shape and every batch once."""

import pytest

from training.export.session import ExportError
from training.export.tensorrt.profiles import profiles_for

SHAPES = ((640, 640), (384, 640))


def test_each_shape_has_a_profile_for_each_step() -> None:
    profiles = profiles_for(SHAPES, (1, 8))
    assert [(profile.shape_hw, profile.least, profile.most) for profile in profiles] == [
        *(((640, 640), 1, 1), ((640, 640), 2, 8)),
        *(((384, 640), 1, 1), ((384, 640), 2, 8)),
    ]


def test_every_batch_lies_in_one_profile() -> None:
    for batch in range(1, 17):
        fitting = [one for one in profiles_for(SHAPES[:1], (1, 4, 16)) if one.least <= batch <= one.most]
        assert len(fitting) == 1


def test_a_profile_is_fastest_where_it_is_largest() -> None:
    profile = profiles_for(SHAPES, (4,))[1]
    assert profile.dims == ((1, 384, 640, 3), (4, 384, 640, 3), (4, 384, 640, 3))


@pytest.mark.parametrize("batches", [(), (0, 4), (4, 4), (8, 1)])
def test_steps_that_do_not_rise_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(ExportError, match="batch sizes must rise"):
        profiles_for(SHAPES, batches)
