"""A stream whose key is taken back, or gets other rights or another rate, while it is open."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.access import Keys, new_key
from service.app import Service
from service.errors import Forbidden, ServiceError, Unauthenticated

pytestmark = pytest.mark.anyio

TOKEN, ENTRY = new_key("camera", ["detect"])
OTHER = new_key("other", ["detect"])[1]


class KeysFile:
    """Its keys are read again at once, whatever the time."""

    def __init__(self, path: Path, service: Service) -> None:
        self._path = path
        self._now = 0.0
        path.write_text(ENTRY)
        self.keys = Keys(path, metrics=service.metrics, clock=self._later)
        self.client = self.keys.authenticate(TOKEN)

    def write(self, text: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(text)
        new.replace(self._path)

    def _later(self) -> float:
        self._now += 1.0
        return self._now


@pytest.fixture
def file(tmp_path: Path, service: Service) -> KeysFile:
    return KeysFile(tmp_path / "keys.toml", service)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (OTHER, Unauthenticated),
        (new_key("camera", ["detect"])[1], Unauthenticated),
        (ENTRY.replace("detect", "admin"), Forbidden),
    ],
)
async def test_a_stream_ends_with_its_key(
    service: Service, file: KeysFile, camera: Any, want: Any, limited: Any, text: str, error: type[ServiceError]
):
    streams = limited(service, keys=file.keys, renew_s=0.01)
    with streams.open(want(client=file.client)) as stream:
        camera.shoot(1)
        running = asyncio.create_task(stream.run(camera.frames(), camera.send))
        file.write(text)
        with pytest.raises(error):
            async with asyncio.timeout(10):
                await running
    assert len(streams) == 0


async def test_a_stream_ends_with_its_key_where_its_answers_are_not_taken(
    service: Service, file: KeysFile, camera: Any, want: Any, limited: Any, until: Any
):
    camera.gate.clear()
    with limited(service, keys=file.keys, renew_s=0.01).open(want(client=file.client)) as stream:
        camera.shoot(1)
        running = asyncio.create_task(stream.run(camera.frames(), camera.send))
        await until(lambda: bool(stream.counts))
        file.write(OTHER)
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(10):
                await running


async def test_no_stream_opens_for_who_lost_the_key_since_he_came_in(
    service: Service, file: KeysFile, want: Any, limited: Any
):
    file.write(OTHER)
    streams = limited(service, keys=file.keys)
    with pytest.raises(Unauthenticated), streams.open(want(client=file.client)):
        pass
    assert len(streams) == 0


async def test_another_rate_holds_from_then_on(
    service: Service, file: KeysFile, camera: Any, want: Callable[..., Any], limited: Any, until: Any
):
    with limited(service, keys=file.keys, renew_s=0.01).open(want(client=file.client)) as stream:
        running = asyncio.create_task(stream.run(camera.frames(), camera.send))
        file.write(ENTRY + 'rate = "1/hour"\n')
        await until(lambda: stream._asking._client.rate is not None)
        for number in (1, 2):
            camera.shoot(number)
            await until(lambda number=number: len(camera.answers) == number)
        camera.leave()
        await running
    assert [kind for kind, _, _ in camera.told] == ["answered", "rate"]
