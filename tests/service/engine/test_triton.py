"""The Triton engine against a real server: answers as ONNX Runtime gives them, and errors that mean what they say."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion, Target
from service.engine.repository import StoredModel, open_model
from service.engine.triton import TritonEngine
from service.errors import DeadlineExceeded, EngineDown, EngineFailed, EngineNonsense, Overloaded, RepositoryError
from service.vision.spec import generate_image

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

BLOCKS = ModelVersion("blocks", "1")
ODD = ModelVersion("odd", "1")
SHAPE = (128, 128)


@pytest.fixture(scope="module")
def stored(triton_root: Path) -> StoredModel:
    return open_model(triton_root, "blocks", "1")


@pytest.fixture
async def engine(
    make_engine: Callable[..., Any], server: Any, stored: StoredModel, triton_root: Path
) -> AsyncIterator[TritonEngine]:
    engine = await make_engine(server.url)
    await engine.load(stored)
    await engine.load(open_model(triton_root, "odd"))
    return engine


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def told(deed: int = 0, tenths: int = 0) -> np.ndarray:
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[0, 0, :2] = deed, tenths
    return image


async def test_every_shape_answers_as_onnx_runtime_does(engine: TritonEngine, stored: StoredModel):
    for known in stored.spec.known_images:
        pixels = generate_image(known.seed, known.shape_hw)
        (found,) = await engine.infer(Target(BLOCKS, known.shape_hw), [pixels], deadline=soon())
        best = len(known.candidates)
        np.testing.assert_allclose(found.scores[:best], known.candidates.scores, atol=1e-5)
        assert found.boxes.shape == (stored.spec.max_candidates, 4)
        assert (found.boxes.dtype, found.classes.dtype) == (np.float32, np.int32)


async def test_the_embedded_engine_answers_the_same_from_the_same_repository(engine: TritonEngine, stored: StoredModel):
    embedded = EmbeddedEngine(EmbeddedOptions(precision="f32"))
    await embedded.load(stored)
    for shape_hw in stored.spec.input_shapes:
        images = [generate_image(3, shape_hw)]
        (here,) = await embedded.infer(Target(BLOCKS, shape_hw), images, deadline=soon())
        (there,) = await engine.infer(Target(BLOCKS, shape_hw), images, deadline=soon())
        np.testing.assert_array_equal(here.scores, there.scores)
        np.testing.assert_array_equal(here.boxes, there.boxes)
    await embedded.aclose()


async def test_a_batch_answers_as_its_singles_do(engine: TritonEngine):
    images = [generate_image(seed, SHAPE) for seed in range(5)]
    together = await engine.infer(Target(BLOCKS, SHAPE), images, deadline=soon())
    for image, found in zip(images, together, strict=True):
        (alone,) = await engine.infer(Target(BLOCKS, SHAPE), [image], deadline=soon())
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)


async def test_answers_of_simultaneous_batches_are_not_mixed_up(engine: TritonEngine):
    target = Target(BLOCKS, SHAPE)
    images = [generate_image(seed, SHAPE) for seed in range(24)]
    expected = [(await engine.infer(target, [image], deadline=soon()))[0] for image in images]
    found = await asyncio.gather(*(engine.infer(target, [image], deadline=soon()) for image in images))
    for (one,), other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


async def test_the_passport_says_what_the_server_runs(engine: TritonEngine, stored: StoredModel):
    passport = await engine.load(stored)
    assert passport.engine.startswith("triton 2.")
    assert (passport.device, passport.precision, passport.max_batch_size) == ("CPU", "f32", 8)
    assert (await engine.loaded())[BLOCKS] == passport


async def test_a_deadline_ends_the_wait(engine: TritonEngine):
    with pytest.raises(DeadlineExceeded):
        await engine.infer(Target(ODD, SHAPE), [told(tenths=10)], deadline=soon(0.2))
    with pytest.raises(DeadlineExceeded):
        await engine.infer(Target(ODD, SHAPE), [told()], deadline=soon(-1.0))


async def test_a_full_queue_is_overload(engine: TritonEngine):
    tasks = [engine.infer(Target(ODD, SHAPE), [told(tenths=2)], deadline=soon()) for _ in range(8)]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, Overloaded)]
    assert refused
    assert len(refused) + sum(isinstance(end, list) for end in ends) == 8


async def test_what_is_cancelled_in_the_servers_queue_never_runs(engine: TritonEngine):
    running = asyncio.create_task(engine.infer(Target(ODD, SHAPE), [told(tenths=3)], deadline=soon()))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(engine.infer(Target(ODD, SHAPE), [told(tenths=250)], deadline=soon(30.0)))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await running
    await engine.infer(Target(ODD, SHAPE), [told()], deadline=soon(5.0))


@pytest.mark.parametrize("deed", [1, 2, 3], ids=["not-finite", "too-few-rows", "too-few-images"])
async def test_an_answer_that_breaks_the_contract_is_nonsense(
    engine: TritonEngine, deed: int, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(EngineNonsense, match="not what its model promises"):
        await engine.infer(Target(ODD, SHAPE), [told(deed), told()], deadline=soon())
    assert "Triton answered" in caplog.text


async def test_a_failing_model_tells_the_log_and_not_the_client(engine: TritonEngine, caplog: pytest.LogCaptureFixture):
    with pytest.raises(EngineFailed) as caught:
        await engine.infer(Target(ODD, SHAPE), [told(4)], deadline=soon())
    assert "told" not in str(caught.value)
    assert "as it was told" in caplog.text


async def test_a_model_that_is_not_loaded_fails_at_once(engine: TritonEngine):
    for model in (ModelVersion("plain", "2"), ModelVersion("nothing", "1")):
        with pytest.raises(EngineFailed, match="not ready"):
            await engine.infer(Target(model, SHAPE), [told()], deadline=soon())


async def test_another_gateways_model_needs_no_load(make_engine: Callable[..., Any], server: Any, engine: TritonEngine):
    other = await make_engine(server.url)
    assert set(await other.loaded()) >= {BLOCKS, ODD}
    assert len(await other.infer(Target(BLOCKS, SHAPE), [told()] * 3, deadline=soon())) == 3


async def test_a_model_without_files_is_our_repositorys_fault_or_the_engines(
    engine: TritonEngine, tmp_path: Path, write_blocks: Callable[..., Any]
):
    write_blocks(tmp_path, "elsewhere")
    with pytest.raises(RepositoryError, match=r"config\.pbtxt"):
        await engine.load(open_model(tmp_path, "elsewhere"))
    (tmp_path / "elsewhere" / "config.pbtxt").write_text('backend: "python"')
    # On the server they may be put right at any time.
    with pytest.raises(EngineFailed, match="the engine cannot load model 'elsewhere'"):
        await engine.load(open_model(tmp_path, "elsewhere"))


async def test_no_server_is_a_dead_engine_and_starts_all_the_same(make_engine: Callable[..., Any], stored: StoredModel):
    engine = await make_engine("127.0.0.1:1")
    for call in (engine.loaded(), engine.load(stored)):
        with pytest.raises(EngineDown):
            await call
    with pytest.raises(EngineDown):
        await engine.infer(Target(BLOCKS, SHAPE), [told()], deadline=soon())
