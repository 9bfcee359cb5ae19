"""Readiness: the known image, run again through the real engine."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.app import Service
from service.batching import Batcher, Bounds, OldestFirst
from service.detector import Detector
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import Target
from service.errors import EngineFailed, ModelNotReady, Overloaded, ServiceError, UnknownModel
from service.models import TOLERANCES, Models, compare
from service.settings import Settings
from service.vision.detections import Candidates
from service.vision.spec import KnownImage, ModelSpec

pytestmark = pytest.mark.anyio

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


async def test_a_model_gets_ready_in_the_precision_of_this_cpu(make_settings: Callable[..., Settings]):
    best = EmbeddedEngine(EmbeddedOptions()).passport.precision
    service = Service(make_settings(precision=best))
    assert list(service.reasons()) == ["blocks"]
    await service.start()
    assert service.reasons() == {}
    ready = service.metrics.registry.get_sample_value("yolov7_model_ready", {"model": "blocks", "version": "1"})
    assert ready == 1
    await service.aclose()


async def test_a_model_that_went_blind_is_not_ready(
    make_settings: Callable[..., Settings], write_blocks: Callable[..., ModelSpec], tmp_path: Path
):
    spec = write_blocks(tmp_path)
    known = replace(spec.known_images[0], seed=8)
    (tmp_path / "blocks/spec.json").write_text(replace(spec, known_images=(known,)).to_json())
    service = Service(make_settings(model_repository=tmp_path))
    await service.start()
    assert "known image 128x128: candidate 0" in service.reasons()["blocks"]
    with pytest.raises(ModelNotReady, match="known image"):
        service.models.resolve("blocks")
    await service.aclose()


async def test_a_timer_that_died_shows(service: Service):
    timer = service.models._timer
    assert timer is not None
    assert service.reasons() == {}
    timer.cancel()
    await service.models.aclose()
    assert service.reasons() == {"known images": "their timer has stopped"}
    await service.models.start()
    assert service.reasons() == {}


async def test_a_wrong_name_or_version_lists_what_exists(service: Service):
    with pytest.raises(UnknownModel, match="no model 'cars'; there is blocks"):
        service.models.resolve("cars")
    with pytest.raises(UnknownModel, match="no version '7'; there is 1"):
        service.models.resolve("blocks", "7")
    assert service.models.resolve().name == "blocks"


class Switch:
    """The real engine, with a switch."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.error: ServiceError | None = None

    async def infer(self, target: Target, images: Sequence[NDArray[np.uint8]]) -> Sequence[Candidates]:
        if self.error is not None:
            raise self.error
        return await self.engine.infer(target, images)


async def test_an_engine_that_fails_shows_and_recovers(service: Service):
    switch = Switch(service.engine)
    batcher = Batcher(switch.infer, OldestFirst(1), bounds=Bounds(8, 1), metrics=service.metrics)
    detector = Detector(batcher, service.threads, places=8, max_pixels=10**6, metrics=service.metrics)
    spec, passport = service.models.resolve(), service.models.passport
    models = Models([spec], detector, passport, interval_s=60, metrics=service.metrics)
    for error, ready in ((None, True), (EngineFailed("down"), False), (Overloaded("busy"), False), (None, True),
                         (Overloaded("busy"), True)):  # fmt: skip
        switch.error = error
        await models.check()
        assert (models.reasons() == {}) == ready, error
