"""The embedded engine against ONNX Runtime's answers, which the spec of the small model holds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import Target
from service.engine.repository import StoredModel, open_model
from service.errors import EngineFailed, RepositoryError
from service.vision.spec import KnownImage, ModelSpec, generate_image

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stored(blocks_repository: Path) -> StoredModel:
    return open_model(blocks_repository, "blocks")


@pytest.fixture(scope="module")
async def engine(stored: StoredModel) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=2, max_batch_size=4))
    engine.load(stored)
    yield engine
    await engine.aclose()


def target_of(spec: ModelSpec, known: KnownImage) -> Target:
    return Target(spec.name, spec.version, known.shape_hw)


async def test_every_shape_answers_as_onnx_runtime_does(engine: EmbeddedEngine, stored: StoredModel):
    for known in stored.spec.known_images:
        pixels = generate_image(known.seed, known.shape_hw)
        (found,) = await engine.infer(target_of(stored.spec, known), [pixels])
        best = len(known.candidates)
        np.testing.assert_allclose(found.scores[:best], known.candidates.scores, atol=1e-5)
        assert found.boxes.shape == (stored.spec.max_candidates, 4)
        assert (found.boxes.dtype, found.classes.dtype) == (np.float32, np.int32)


async def test_a_batch_answers_as_its_singles_do(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [generate_image(seed, target.shape_hw) for seed in range(4)]
    together = await engine.infer(target, images)
    for image, found in zip(images, together, strict=True):
        (alone,) = await engine.infer(target, [image])
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)


async def test_answers_of_simultaneous_batches_are_not_mixed_up(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [generate_image(seed, target.shape_hw) for seed in range(24)]
    expected = [(await engine.infer(target, [image]))[0] for image in images]
    found = await asyncio.gather(*(engine.infer(target, [image]) for image in images))
    for (one,), other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


async def test_an_answer_survives_the_next_inference(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    (first,) = await engine.infer(target, [generate_image(1, target.shape_hw)])
    before = first.scores.copy()
    for _ in range(8):
        await engine.infer(target, [np.zeros((*target.shape_hw, 3), np.uint8)])
    np.testing.assert_array_equal(first.scores, before)


def test_the_passport_says_what_was_chosen(engine: EmbeddedEngine):
    passport = engine.passport
    assert (passport.precision, passport.parallelism, passport.max_batch_size) == ("f32", 3, 4)
    assert passport.engine.startswith("openvino 20")


def test_precision_is_always_chosen():
    assert EmbeddedEngine(EmbeddedOptions()).passport.precision in ("bf16", "f32")


async def test_a_batch_that_does_not_fit_is_an_engine_error(
    engine: EmbeddedEngine, stored: StoredModel, caplog: pytest.LogCaptureFixture
):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [np.zeros((*target.shape_hw, 3), np.uint8)] * 5
    with pytest.raises(EngineFailed):
        await engine.infer(target, images)
    assert "a batch of 5 for Target(model='blocks'" in caplog.text
    assert len(await engine.infer(target, images[:1])) == 1


def test_a_spec_that_names_other_tensors_is_refused(stored: StoredModel):
    spec = replace(stored.spec, output_names=("boxes", "logits"))
    with pytest.raises(RepositoryError, match="has no tensor logits"):
        EmbeddedEngine(EmbeddedOptions()).load(StoredModel(spec, stored.onnx))


def test_a_file_that_is_no_graph_is_refused(stored: StoredModel, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RepositoryError, match="does not compile") as caught:
        EmbeddedEngine(EmbeddedOptions()).load(StoredModel(stored.spec, tmp_path / "model.onnx"))
    assert "\n" not in str(caught.value)


def test_a_graph_of_floats_is_refused(stored: StoredModel, tmp_path: Path):
    path = tmp_path / "model.onnx"
    outputs = ["boxes", "scores", "classes", "predictions"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], [name]) for name in outputs],
        "floats",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    with pytest.raises(RepositoryError, match="not uint8"):
        EmbeddedEngine(EmbeddedOptions()).load(StoredModel(stored.spec, path))


async def test_a_graph_that_mixes_its_batch_up_is_noticed(stored: StoredModel, tmp_path: Path):
    """Its answer is always one image long, whatever it was asked."""
    path = tmp_path / "model.onnx"
    graph = onnx.load(str(stored.onnx))
    first = helper.make_node("Slice", ["images", "s_start", "s_end", "s_axis"], ["sliced"])
    for node in graph.graph.node:
        node.input[:] = ["sliced" if name == "images" else name for name in node.input]
    graph.graph.node.insert(0, first)
    for name, value in (("s_start", 0), ("s_end", 1), ("s_axis", 0)):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    onnx.save(graph, str(path))
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", max_batch_size=2))
    engine.load(StoredModel(stored.spec, path))
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [np.zeros((*target.shape_hw, 3), np.uint8)] * 2
    with pytest.raises(EngineFailed, match="answered 1 images when asked for 2"):
        await engine.infer(target, images)
    await engine.aclose()


def test_a_second_load_finds_the_compiled_model(
    stored: StoredModel, tmp_path: Path, write_blocks: Callable[..., object]
):
    EmbeddedEngine(EmbeddedOptions(precision="f32", cache_dir=tmp_path)).load(stored)
    blobs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.blob")}
    assert len(blobs) == len(stored.spec.input_shapes)
    EmbeddedEngine(EmbeddedOptions(precision="f32", cache_dir=tmp_path)).load(stored)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.blob")} == blobs
