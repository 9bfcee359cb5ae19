"""Whether a model still sees: what counts as the known answer, and what a look at a real engine tells."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from service.app import Service
from service.detector import Served
from service.errors import EngineFailed
from service.models import TOLERANCES, compare
from service.models.known import look
from service.vision.detections import Candidates
from service.vision.spec import KnownImage

F32 = TOLERANCES["f32"]


def candidates(*scores: float, shift: float = 0.0, class_id: int = 0) -> Candidates:
    count = len(scores)
    boxes = np.array([[10 * n + shift, 0, 10 * n + 10 + shift, 10] for n in range(count)], np.float32)
    ids = np.arange(count, dtype=np.int32)
    return Candidates(boxes.reshape(-1, 4), np.array(scores, np.float32), np.full(count, class_id, np.int32), ids)


KNOWN = KnownImage(1, (64, 64), candidates(0.9, 0.8))


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (candidates(0.9, 0.8), True),
        (candidates(0.901, 0.799, 0.7), True),
        (candidates(0.9, 0.5), False),
        (candidates(0.9), False),
        (candidates(0.9, 0.8, shift=2.0), False),
        (candidates(0.9, 0.8, class_id=1), False),
        (candidates(), False),
    ],
)
def test_the_known_answer_must_come_back(found: Candidates, same: bool):
    assert (compare(KNOWN, found, F32) is None) == same


def test_near_ties_may_change_places():
    known = KNOWN.candidates
    swapped = Candidates(known.boxes[::-1], known.scores[::-1], known.classes[::-1], known.predictions[::-1])
    assert compare(KNOWN, swapped, F32) is None


def test_a_coarser_precision_may_differ_more():
    found = candidates(0.907, 0.793)
    assert [compare(KNOWN, found, TOLERANCES[name]) is None for name in ("f32", "fp16", "bf16")] == [False, True, True]


def test_a_small_box_may_move_by_a_pixel_and_a_large_one_too_but_no_further():
    moved = [compare(KNOWN, candidates(0.9, 0.8, shift=by), TOLERANCES["bf16"]) is None for by in (0.9, 1.1)]
    assert moved == [True, False]
    assert compare(KNOWN, candidates(0.9, 0.8, shift=0.9), F32) is not None


def test_what_is_hardly_seen_may_change_its_class_where_it_is_rounded():
    faint, sure = KnownImage(1, (64, 64), candidates(0.011)), KnownImage(1, (64, 64), candidates(0.5))
    assert compare(faint, candidates(0.011, class_id=1), TOLERANCES["bf16"]) is None
    assert compare(sure, candidates(0.5, class_id=1), TOLERANCES["bf16"]) is not None
    assert compare(faint, candidates(0.011, class_id=1), F32) is not None


@pytest.mark.anyio
async def test_a_model_that_sees_has_nothing_wrong_with_it(service: Service):
    assert await look(service.detector, service.models.resolve()) is None


@pytest.mark.anyio
async def test_every_input_shape_is_looked_at(service: Service):
    served = service.models.resolve()
    good, other = served.spec.known_images
    spec = replace(served.spec, known_images=(good, replace(other, seed=8)))
    reason = await look(service.detector, Served(spec, served.passport))
    assert reason is not None
    assert reason.startswith("known image 64x128: candidate 0 (class ")


@pytest.mark.anyio
async def test_a_precision_without_a_tolerance_is_said(service: Service):
    served = service.models.resolve()
    reason = await look(service.detector, Served(served.spec, replace(served.passport, precision="int4")))
    assert reason == "nothing is known of the precision 'int4'"


@pytest.mark.anyio
async def test_an_engine_that_fails_is_not_taken_for_a_blind_model(
    make_service: Callable[..., Awaitable[Service]], engine_with_switch
):
    service = await make_service(engine_with_switch)
    engine_with_switch.error = EngineFailed("down")
    with pytest.raises(EngineFailed):
        await look(service.detector, service.models.resolve())
