"""What an operator may do to the models of a running service: load, promote, unload. Each needs the right `admin`.

None of them drops a request. They answer when the change has happened, which for a load can take seconds.
"""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.door import Door
from service.api.status import describe_model
from service.models import Model, Models

Version = Annotated[str | None, Query(description="Version in the repository; the current one where absent.")]
GivenVersion = Annotated[str, Query(description="Version in the repository.")]


class AdminRoutes:
    """Routes below /v1/models/{name}."""

    def __init__(self, models: Models, door: Door) -> None:
        self._models = models
        self._door = door

    async def load(self, request: Request, name: str, version: Version = None) -> Response:
        """Loads a version beside those that are served, and runs its known image."""
        self._door.admin(request)
        return self._answer(await self._models.load(name, version))

    async def promote(self, request: Request, name: str, version: GivenVersion) -> Response:
        """Makes a version the one that requests get which name none; loads it first where it is not loaded yet."""
        self._door.admin(request)
        return self._answer(await self._models.promote(name, version))

    async def unload(self, request: Request, name: str, version: GivenVersion) -> Response:
        """Frees a version once nobody uses it any more. The current one stays, unless it is the last of its model."""
        self._door.admin(request)
        await self._models.unload(name, version)
        return Response(status_code=204)

    def _answer(self, model: Model) -> Response:
        return Response(describe_model(self._models, model).model_dump_json(), media_type="application/json")
