"""The models that are served, and whether each still sees: versions, the known image, readiness.

A model's spec carries pictures that are made from a seed, and what the network said of them when it was exported.
They are inferred again at the start and on a timer, through the batcher like any request, and compared within what
the engine's precision allows. A model that answers otherwise is not ready, and requests for it are refused.

Nothing here knows requests, encoded images or thresholds.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.detector import Detector
from service.engine.protocol import Passport
from service.errors import ModelNotReady, Overloaded, ServiceError, UnknownModel
from service.metrics import Metrics
from service.vision.boxes import iou_matrix
from service.vision.detections import Candidates
from service.vision.spec import KnownImage, ModelSpec, generate_image

logger = logging.getLogger(__name__)

# Longer than any healthy engine needs behind a full queue.
CHECK_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be from the exported one: least overlap of a box, largest difference of a score."""

    iou: float
    score: float


# Known answers come from ONNX Runtime in f32, where a half-trained YOLOv7-tiny differed by less than 0.0001 of score.
# bf16 against f32, 600 candidates of 60 generated pictures: 0.005 of score and 0.995 of overlap at worst.
TOLERANCES = {"f32": Tolerance(iou=0.99, score=0.002), "bf16": Tolerance(iou=0.95, score=0.02)}


@dataclass(slots=True)
class Model:
    """`reason` says why the model is not ready; None when it is."""

    spec: ModelSpec
    reason: str | None = "its known image was not run yet"

    @property
    def ready(self) -> bool:
        """Whether requests for it are taken."""
        return self.reason is None


class Models:
    """The first spec is the default model. Iterating yields the models in the order given."""

    def __init__(
        self, specs: Sequence[ModelSpec], detector: Detector, passport: Passport, *, interval_s: float, metrics: Metrics
    ) -> None:
        self.passport = passport
        self._models = {spec.name: Model(spec) for spec in specs}
        self._default = self._models[specs[0].name]
        self._detector = detector
        self._interval_s = interval_s
        self._metrics = metrics
        self._timer: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    async def start(self) -> None:
        """Runs every known image once, then again each interval."""
        await self.check()
        self._timer = asyncio.get_running_loop().create_task(self._check_on_timer())

    async def aclose(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])

    def resolve(self, name: str | None = None, version: str | None = None) -> ModelSpec:
        """The spec that a request's model and version stand for. Raises UnknownModel and ModelNotReady."""
        model = self._default if name is None else self._models.get(name)
        if model is None:
            raise UnknownModel(f"no model {name!r}; there is {', '.join(self._models)}")
        if version not in (None, model.spec.version):
            raise UnknownModel(f"model {model.spec.name!r} has no version {version!r}; there is {model.spec.version}")
        if model.reason is not None:
            raise ModelNotReady(f"model {model.spec.name!r} is not ready: {model.reason}")
        return model.spec

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, by what is amiss; empty when it is."""
        reasons = {model.spec.name: model.reason for model in self if model.reason is not None}
        if not self._detector.healthy:
            reasons["batching"] = "it has stopped"
        if self._timer is not None and self._timer.done():
            reasons["known images"] = "their timer has stopped"
        return reasons

    async def check(self) -> None:
        """Runs the known images of every model and takes down what is wrong with each."""
        for model in self:
            before = model.reason
            try:
                model.reason = await self._look_at_known_images(model.spec)
            except Overloaded:
                logger.info("model %s: too busy for its known image; readiness stays as it is", model.spec.name)
            except ServiceError as exc:
                model.reason = str(exc)
            if model.reason != before:
                log = logger.info if model.ready else logger.error
                log("model %s/%s: %s", model.spec.name, model.spec.version, model.reason or "ready")
            self._metrics.model_ready.labels(model.spec.name, model.spec.version).set(model.ready)

    async def _check_on_timer(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.check()

    async def _look_at_known_images(self, spec: ModelSpec) -> str | None:
        tolerance = TOLERANCES[self.passport.precision]
        for known in spec.known_images:
            pixels = await asyncio.to_thread(generate_image, known.seed, known.shape_hw)
            found = await self._detector.infer(pixels, spec, deadline=time.monotonic() + CHECK_DEADLINE_S)
            difference = compare(known, found, tolerance)
            if difference is not None:
                return f"known image {known.shape_hw[0]}x{known.shape_hw[1]}: {difference}"
        return None


def compare(known: KnownImage, found: Candidates, tolerance: Tolerance) -> str | None:
    """What of the known answer is missing in `found`, or None. The order of near ties does not matter."""
    expected = known.candidates
    overlaps = iou_matrix(expected.boxes, found.boxes)  # (K known, K found)
    for row, (score, class_id) in enumerate(zip(expected.scores, expected.classes, strict=True)):
        near = (found.classes == class_id) & (overlaps[row] >= tolerance.iou)
        if not np.any(near & (np.abs(found.scores - score) <= tolerance.score)):
            return f"candidate {row} (class {class_id}, score {score:.3f}) did not come back"
    return None
