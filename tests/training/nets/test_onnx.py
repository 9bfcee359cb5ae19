"""One exported graph serves every batch and every shape, alike in both runtimes that run on a CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray

from training.nets import VARIANTS, DeployModel, Network, Variant

pytestmark = [
    pytest.mark.long,  # the exporter takes ten seconds whatever the model
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),  # torch's own
]

Outputs = list[NDArray[np.generic]]
Infer = Callable[[NDArray[np.uint8]], Outputs]

SHAPES = [(1, 64, 96), (3, 64, 96), (1, 128, 64), (3, 128, 64)]


def export(model: DeployModel, path: Path) -> Path:
    stride = model.network.strides[-1]
    height, width = (torch.export.Dim(name, min=2, max=40) for name in ("rows", "columns"))
    dynamic = {0: torch.export.Dim("batch", max=64), 1: stride * height, 2: stride * width}
    example = torch.zeros(2, 4 * stride, 6 * stride, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        model, (example,), dynamo=True, input_names=["images"], dynamic_shapes={"images": dynamic}, verbose=False
    )
    assert program is not None
    program.save(path)
    return path


def onnx_runtime(path: Path) -> Infer:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})


def open_vino(path: Path) -> Infer:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: [output.copy() for output in compiled(images).values()]


def check(model: DeployModel, infer: Infer, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(9).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = [output.numpy() for output in model(torch.from_numpy(images))]
    answer = infer(images)
    assert [output.dtype for output in answer] == [output.dtype for output in expected]
    np.testing.assert_allclose(answer[1], expected[1], atol=1e-4)
    for image in range(shape[0]):
        boxes = [pairs(outputs, image) for outputs in (answer, expected)]
        shared = boxes[0].keys() & boxes[1].keys()
        assert len(shared) >= 0.97 * len(boxes[1])  # the last of near-equal scores may differ
        for pair in shared:
            np.testing.assert_allclose(boxes[0][pair], boxes[1][pair], atol=0.05)


def pairs(outputs: Outputs, image: int) -> dict[tuple[int, int], NDArray[np.generic]]:
    boxes, _, classes, predictions = (output[image] for output in outputs)
    return {(int(p), int(c)): box for box, c, p in zip(boxes, classes, predictions, strict=True)}


@pytest.fixture(scope="module", params=[1, 5], ids=["one class", "five classes"])
def exported(
    request: pytest.FixtureRequest,
    toy: Variant,
    filled: Callable[..., Network],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[DeployModel, Path]:
    model = DeployModel(filled(toy, num_classes=request.param), 100).eval()
    return model, export(model, tmp_path_factory.mktemp("onnx") / "toy.onnx")


@pytest.mark.parametrize("runtime", [onnx_runtime, open_vino])
def test_one_graph_serves_every_batch_and_shape(
    runtime: Callable[[Path], Infer], exported: tuple[DeployModel, Path]
) -> None:
    model, path = exported
    infer = runtime(path)
    for shape in SHAPES:
        check(model, infer, shape)


def test_a_whole_variant_exports(filled: Callable[..., Network], tmp_path: Path) -> None:
    model = DeployModel(filled(VARIANTS["tiny"]), 100).eval()
    path = export(model, tmp_path / "model.onnx")
    for runtime in (onnx_runtime, open_vino):
        infer = runtime(path)
        for shape in ((1, 128, 192), (3, 192, 128)):
            check(model, infer, shape)
