"""What a model is expected to see, and what its known image found, are told in the metrics while it is served."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service.app import Service
from service.models.reference import read_reference
from service.vision.spec import ModelSpec

BLOCKS = {"model": "blocks", "version": "1"}
TOLD = {
    "data": "val.json",
    "images": 9,
    "objects": 8,
    "score": 0.5,
    "size": 0.25,
    "classes": {"red": 0.75, "blue": 0.25},
}


def test_a_reference_is_read_as_it_was_written(tmp_path: Path):
    (tmp_path / "reference.json").write_text(json.dumps(TOLD))
    reference = read_reference(tmp_path / "model.onnx")
    assert reference.classes == TOLD["classes"]
    assert (reference.score, reference.size) == (0.5, 0.25)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"classes": 3, "score": 1, "size": 1}', '{"classes": {"a": "b"}}', "\x00"]
)
def test_one_that_cannot_be_read_is_told_and_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str):
    assert read_reference(tmp_path / "model.onnx") is None
    assert not caplog.records
    (tmp_path / "reference.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert read_reference(tmp_path / "model.onnx") is None
    assert "reference.json cannot be read" in caplog.text


@pytest.mark.anyio
async def test_the_metrics_tell_it_until_the_model_is_gone(
    make_service: Callable[..., Awaitable[Service]], tmp_path: Path, write_blocks: Callable[..., ModelSpec], sample
):
    write_blocks(tmp_path, "blocks")
    write_blocks(tmp_path, "second")
    (tmp_path / "second" / "1" / "reference.json").write_text(json.dumps(TOLD))
    service = await make_service(model_repository=tmp_path)
    second = {"model": "second", "version": "1"}
    parts = [sample(service, "expected_class_ratio", **second, **{"class": name}) for name in ("red", "green", "blue")]
    assert parts == [0.75, 0.0, 0.25]
    assert sample(service, "expected_score", **second) == 0.5
    assert sample(service, "expected_size_ratio", **second) == 0.25
    await service.models.unload("second", "1")
    exposed = service.metrics.exposition().decode()
    assert 'model="second"' not in "".join(line for line in exposed.splitlines(True) if "expected" in line)
    assert 'known_image_found{model="second"' not in exposed


@pytest.mark.anyio
async def test_the_known_image_says_what_it_found_and_when(
    make_service: Callable[..., Awaitable[Service]], two_versions: Path, sample
):
    before = time.time()
    service = await make_service(model_repository=two_versions)
    assert sample(service, "known_image_found", **BLOCKS) == 1
    assert before <= sample(service, "known_image_timestamp_seconds", **BLOCKS) <= time.time()
    model = service.models.find("blocks")
    spec = model.stored.spec
    other = ModelSpec.from_json(spec.to_json().replace('"seed": 7', '"seed": 8'))
    model.stored = type(model.stored)(other, model.stored.onnx)
    await service.models.check()
    assert sample(service, "known_image_found", **BLOCKS) == sample(service, "model_ready", **BLOCKS) == 0
