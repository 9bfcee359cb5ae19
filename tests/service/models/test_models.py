"""Models at the start: what is ready, what is missing or damaged, and no other suffers."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.app import Service
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion
from service.errors import (
    ModelConflict,
    ModelNotReady,
    RepositoryError,
    UnknownModel,
)
from service.settings import Settings
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

MakeService = Callable[..., Awaitable[Service]]
Until = Callable[..., Awaitable[None]]
Write = Callable[..., ModelSpec]

# Often enough for a test to see what the timer does.
OFTEN = {"known_image_interval_s": 0.05}


def damage(root: Path, name: str, version: str = "1") -> None:
    """The graph becomes one that no engine compiles, and its spec speaks of it."""
    path = root / name / version / "model.onnx"
    path.write_bytes(b"no graph")
    for spec in (path.parent / "spec.json", root / name / "spec.json"):
        changed = replace(ModelSpec.from_json(spec.read_text()), sha256=hashlib.sha256(b"no graph").hexdigest())
        spec.write_text(changed.to_json())


async def test_a_model_gets_ready_in_the_precision_of_this_cpu(make_settings: Callable[..., Settings], sample):
    best = EmbeddedEngine(EmbeddedOptions())._passport.precision
    service = Service(make_settings(precision=best))
    assert service.reasons() == {"models": "nothing was loaded yet"}
    await service.start()
    assert service.reasons() == {}
    assert service.models.default == "blocks"
    assert sample(service, "model_ready", model="blocks", version="1") == 1
    await service.aclose()


async def test_a_wrong_name_or_version_lists_what_exists(service: Service):
    with pytest.raises(UnknownModel, match="no model 'cars'; there is blocks"):
        service.models.resolve("cars")
    with pytest.raises(UnknownModel, match="no version '7' loaded; there is 1"):
        service.models.resolve("blocks", "7")
    assert service.models.resolve().model == ModelVersion("blocks", "1")


async def test_a_default_model_that_is_missing_stops_the_start(make_service: MakeService, tmp_path: Path):
    with pytest.raises(RepositoryError, match=r"no model 'blocks' in .*; there is none at all"):
        await make_service(model_repository=tmp_path)


async def test_a_default_model_that_is_damaged_stops_the_start(
    make_service: MakeService, tmp_path: Path, write_blocks: Write
):
    write_blocks(tmp_path)
    damage(tmp_path, "blocks")
    with pytest.raises(RepositoryError, match="does not compile"):
        await make_service(model_repository=tmp_path)


@pytest.mark.parametrize("how", ["graph", "spec", "absent"])
async def test_another_model_that_is_damaged_says_so_and_harms_no_other(
    make_service: MakeService, tmp_path: Path, write_blocks: Write, how: str
):
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    path = tmp_path / "second/spec.json"
    if how == "graph":
        damage(tmp_path, "second")
    elif how == "spec":
        path.write_text("{")
    else:
        (tmp_path / "second/1/model.onnx").unlink()
    service = await make_service(model_repository=tmp_path, **OFTEN)
    assert service.reasons() == {}
    assert service.models.resolve().spec.name == "blocks"
    with pytest.raises(ModelNotReady, match="second"):
        service.models.resolve("second")
    assert list(service.models.broken) == ([] if how == "graph" else ["second"])


@pytest.mark.parametrize("how", ["graph", "spec"])
async def test_a_damaged_model_that_was_put_right_can_be_loaded(
    make_service: MakeService, tmp_path: Path, write_blocks: Write, write_dimmed: Write, how: str
):
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    damage(tmp_path, "second") if how == "graph" else (tmp_path / "second/spec.json").write_text("{")
    service = await make_service(model_repository=tmp_path)
    with pytest.raises(ModelConflict, match="second"):
        await service.models.load("second", None)
    for file in (tmp_path / "second/1").iterdir():
        file.unlink()
    (tmp_path / "second/1").rmdir()
    write_dimmed(tmp_path, "second", "1")
    assert (await service.models.load("second", None)).ready
    assert service.models.broken == {}
    assert service.models.resolve("second").spec.known_images[0].candidates.scores[0] < 0.6


async def test_a_model_without_a_file_harms_only_those_who_ask_for_it(
    make_service: MakeService, tmp_path: Path, write_blocks: Write
):
    """A file that is there and cannot be read, whoever asks."""
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    (tmp_path / "second/1/model.onnx").unlink()
    (tmp_path / "second/1/model.onnx").symlink_to("/proc/self/mem")
    service = await make_service(model_repository=tmp_path)
    assert service.reasons() == {}
    assert "cannot be read" in service.models.broken["second"]
