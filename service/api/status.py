"""What others ask about the service: is it alive, is it ready, what does it serve, what has it counted.

None of these routes does any work for its answer.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from service.api.answer import ModelAnswer, ModelsAnswer, VersionsAnswer
from service.api.exchange import Exchange
from service.api.problems import Problem
from service.metrics import Metrics
from service.models import Model, Models
from service.vision.passport import EnginePassport


class StatusRoutes:
    """`reasons` says why the service is not ready, by what is amiss; empty when it is."""

    def __init__(self, models: Models, metrics: Metrics, reasons: Callable[[], dict[str, str]]) -> None:
        self._models = models
        self._metrics = metrics
        self._reasons = reasons

    async def livez(self) -> Response:
        """200 as long as the event loop turns."""
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """200 if a request would be answered, else 503 with every reason."""
        reasons = self._reasons()
        if not reasons:
            return _json({"status": "ready"})
        detail = "; ".join(f"{what}: {why}" for what, why in reasons.items())
        problem = Problem(503, "not-ready", "Not ready", detail, headers=(("Retry-After", "1"),))
        return problem.response(Exchange.of(request).request_id, request.url.path)

    async def metrics(self) -> Response:
        """The Prometheus exposition."""
        # With several processes their files are read, which is no work for the event loop.
        return Response(await asyncio.to_thread(self._metrics.exposition), media_type=CONTENT_TYPE_LATEST)

    async def models(self) -> Response:
        """Each model's passport, and what the engine runs it with."""
        answer = ModelsAnswer(
            models=[describe_model(self._models, model) for model in self._models],
            broken=dict(self._models.broken),
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    async def model(self, name: str) -> Response:
        """The current version of one model, and which others there are."""
        current = self._models.find(name)
        answer = VersionsAnswer(
            **describe_model(self._models, current).model_dump(),
            versions=[describe_model(self._models, model) for model in self._models if model.key.name == name],
            available=list(await asyncio.to_thread(self._models.available, name)),
        )
        return Response(answer.model_dump_json(), media_type="application/json")


def describe_model(models: Models, model: Model) -> ModelAnswer:
    """One version of a model as the wire shows it."""
    spec, passport = model.spec, model.passport
    return ModelAnswer(
        name=spec.name,
        version=spec.version,
        current=models.is_current(model.key),
        ready=model.ready,
        reason=model.reason,
        variant=spec.variant,
        class_names=list(spec.class_names),
        input_shapes=list(spec.input_shapes),
        max_candidates=spec.max_candidates,
        score_floor=spec.score_floor,
        sha256=spec.sha256,
        average_precision=spec.average_precision,
        origin=spec.origin,
        engine=passport.engine if passport else None,
        device=passport.device if passport else None,
        precision=passport.precision if passport else None,
        max_batch_size=passport.max_batch_size if passport else None,
        passport=_shown(passport.papers) if passport and passport.papers else None,
    )


def _shown(papers: EnginePassport) -> dict[str, Any]:
    """Without the known answers, which are for machines and long."""
    return {key: value for key, value in papers.to_dict().items() if key != "known_images"}


def _json(document: dict[str, str]) -> Response:
    return Response(json.dumps(document), media_type="application/json")
