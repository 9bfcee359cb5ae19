"""The embedded engine against ONNX Runtime's answers, which the spec of the small model holds."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper

from service.engine.cores import usable_cores
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion, Target
from service.engine.repository import StoredModel, open_model
from service.errors import EngineFailed, EngineNonsense, RepositoryError, StartError
from service.vision.spec import KnownImage, ModelSpec, generate_image

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stored(blocks_repository: Path) -> StoredModel:
    return open_model(blocks_repository, "blocks")


@pytest.fixture(scope="module")
async def engine(stored: StoredModel) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=2, max_batch_size=4))
    await engine.start()
    await engine.load(stored)
    yield engine
    await engine.aclose()


def target_of(spec: ModelSpec, known: KnownImage) -> Target:
    return Target(ModelVersion(spec.name, spec.version), known.shape_hw)


def soon() -> float:
    return time.monotonic() + 10


async def test_every_shape_answers_as_onnx_runtime_does(engine: EmbeddedEngine, stored: StoredModel):
    for known in stored.spec.known_images:
        pixels = generate_image(known.seed, known.shape_hw)
        (found,) = await engine.infer(target_of(stored.spec, known), [pixels], deadline=soon())
        best = len(known.candidates)
        np.testing.assert_allclose(found.scores[:best], known.candidates.scores, atol=1e-5)
        assert found.boxes.shape == (stored.spec.max_candidates, 4)
        assert (found.boxes.dtype, found.classes.dtype) == (np.float32, np.int32)


async def test_a_batch_answers_as_its_singles_do(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [generate_image(seed, target.shape_hw) for seed in range(4)]
    together = await engine.infer(target, images, deadline=soon())
    for image, found in zip(images, together, strict=True):
        (alone,) = await engine.infer(target, [image], deadline=soon())
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)


async def test_answers_of_simultaneous_batches_are_not_mixed_up(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [generate_image(seed, target.shape_hw) for seed in range(24)]
    expected = [(await engine.infer(target, [image], deadline=soon()))[0] for image in images]
    found = await asyncio.gather(*(engine.infer(target, [image], deadline=soon()) for image in images))
    for (one,), other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


async def test_an_answer_survives_the_next_inference(engine: EmbeddedEngine, stored: StoredModel):
    target = target_of(stored.spec, stored.spec.known_images[0])
    (first,) = await engine.infer(target, [generate_image(1, target.shape_hw)], deadline=soon())
    before = first.scores.copy()
    for _ in range(8):
        await engine.infer(target, [np.zeros((*target.shape_hw, 3), np.uint8)], deadline=soon())
    np.testing.assert_array_equal(first.scores, before)


async def test_an_answer_holds_what_scores_at_least_the_floor(stored: StoredModel):
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32"))
    await engine.load(StoredModel(replace(stored.spec, score_floor=0.5), stored.onnx))
    target = target_of(stored.spec, stored.spec.known_images[0])
    image = np.zeros((*target.shape_hw, 3), np.uint8)
    image[:8, :8, 0], image[8:16, :8, 1] = 255, 100
    (found,) = await engine.infer(target, [image], deadline=soon())
    assert found.scores.tolist() == [1.0]
    await engine.aclose()


async def test_the_passport_says_what_was_chosen(engine: EmbeddedEngine, stored: StoredModel):
    passport = await engine.load(stored)
    assert (passport.precision, passport.max_batch_size, engine.parallelism) == ("f32", 4, 3)
    assert passport.engine.startswith("openvino 20")
    assert passport.device


async def test_precision_is_always_chosen(stored: StoredModel):
    assert (await EmbeddedEngine(EmbeddedOptions()).load(stored)).precision in ("bf16", "f32")


def test_a_precision_that_the_cpu_lacks_is_refused():
    able = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with contextlib.nullcontext() if able else pytest.raises(StartError, match=r"bf16 .* f32 works"):
        EmbeddedEngine(EmbeddedOptions(precision="bf16"))


def test_without_a_choice_there_is_a_stream_for_each_core_that_may_be_used():
    assert EmbeddedEngine(EmbeddedOptions()).parallelism == usable_cores() + 1


async def test_what_is_loaded_is_told_and_can_be_freed(stored: StoredModel):
    engine, model = EmbeddedEngine(EmbeddedOptions(precision="f32")), ModelVersion("blocks", "1")
    assert await engine.loaded() == {}
    passport = await engine.load(stored)
    assert await engine.load(stored) == passport
    assert await engine.loaded() == {model: passport}
    for _ in range(2):
        await engine.unload(model)
        assert await engine.loaded() == {}
    await engine.aclose()


@pytest.mark.parametrize(
    ("model", "shape_hw"), [(("blocks", "2"), (128, 128)), (("cars", "1"), (128, 128)), (("blocks", "1"), (128, 64))]
)
async def test_a_target_that_is_not_loaded_is_an_engine_error(
    engine: EmbeddedEngine, model: tuple[str, str], shape_hw: tuple[int, int]
):
    with pytest.raises(EngineFailed, match=r"/\d is not loaded for"):
        await engine.infer(
            Target(ModelVersion(*model), shape_hw), [np.zeros((*shape_hw, 3), np.uint8)], deadline=soon()
        )


async def test_unloading_harms_no_batch_that_is_in_hand(stored: StoredModel):
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=2))
    target = target_of(stored.spec, stored.spec.known_images[0])
    image = generate_image(7, target.shape_hw)
    for _ in range(3):
        await engine.load(stored)
        in_hand = [asyncio.ensure_future(engine.infer(target, [image], deadline=soon())) for _ in range(16)]
        await asyncio.sleep(0)
        await engine.unload(target.model)
        for (found,) in await asyncio.gather(*in_hand):
            np.testing.assert_allclose(found.scores[:5], stored.spec.known_images[0].candidates.scores, atol=1e-5)
        with pytest.raises(EngineFailed, match="blocks/1 is not loaded"):
            await engine.infer(target, [image], deadline=soon())
    await engine.aclose()


async def test_closing_waits_for_the_batches_in_hand(stored: StoredModel):
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=1))
    await engine.load(stored)
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [np.zeros((*target.shape_hw, 3), np.uint8)]
    in_hand = [asyncio.ensure_future(engine.infer(target, images, deadline=soon())) for _ in range(16)]
    await asyncio.sleep(0)
    await engine.aclose()
    assert [len(batch) for batch in await asyncio.gather(*in_hand)] == [1] * 16


async def test_a_batch_that_does_not_fit_is_an_engine_error(
    engine: EmbeddedEngine, stored: StoredModel, caplog: pytest.LogCaptureFixture
):
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [np.zeros((*target.shape_hw, 3), np.uint8)] * 5
    with pytest.raises(EngineFailed):
        await engine.infer(target, images, deadline=soon())
    assert "a batch of 5 for Target(model=ModelVersion(name='blocks'" in caplog.text
    assert len(await engine.infer(target, images[:1], deadline=soon())) == 1


async def test_a_spec_that_names_other_tensors_is_refused(stored: StoredModel):
    spec = replace(stored.spec, output_names=("boxes", "logits"))
    with pytest.raises(RepositoryError, match="has no tensor logits"):
        await EmbeddedEngine(EmbeddedOptions()).load(StoredModel(spec, stored.onnx))


def put(stored: StoredModel, path: Path) -> StoredModel:
    """Another file in the model's place, with a spec that speaks of it."""
    return StoredModel(replace(stored.spec, sha256=hashlib.sha256(path.read_bytes()).hexdigest()), path)


async def test_a_file_that_is_no_graph_is_refused(stored: StoredModel, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RepositoryError, match="does not compile") as caught:
        await EmbeddedEngine(EmbeddedOptions()).load(put(stored, tmp_path / "model.onnx"))
    assert "\n" not in str(caught.value)


async def test_a_file_that_changed_since_its_spec_was_read_is_refused(stored: StoredModel, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(stored.onnx.read_bytes() + b"\0")
    with pytest.raises(RepositoryError, match=r"^blocks/1/model\.onnx is refused: it has no passport, and is not the"):
        await EmbeddedEngine(EmbeddedOptions()).load(StoredModel(stored.spec, tmp_path / "model.onnx"))


async def test_a_graph_of_floats_is_refused(stored: StoredModel, tmp_path: Path):
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
        await EmbeddedEngine(EmbeddedOptions()).load(put(stored, path))


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
    await engine.load(put(stored, path))
    target = target_of(stored.spec, stored.spec.known_images[0])
    images = [np.zeros((*target.shape_hw, 3), np.uint8)] * 2
    with pytest.raises(EngineNonsense, match="answered 1 images when asked for 2"):
        await engine.infer(target, images, deadline=soon())
    await engine.aclose()


def test_a_second_load_finds_the_compiled_model(stored: StoredModel, tmp_path: Path):
    found = []
    for _ in range(2):
        asyncio.run(EmbeddedEngine(EmbeddedOptions(precision="f32", cache_dir=tmp_path)).load(stored))
        found.append({path: path.stat().st_mtime_ns for path in tmp_path.glob("*.blob")})
    assert len(found[0]) == len(stored.spec.input_shapes)
    assert found[1] == found[0]
