"""CUDA graphs: what is recorded answers as what it recorded. Imports little, so that it runs on a bare GPU machine."""

import pytest
import torch
from gpu_cases import Case, Precision
from gpu_engines import EagerEngine, GraphEngine
from gpu_network import narrowed, pictures, settled_model
from gpu_timing import EngineRounds

from training.nets import VARIANTS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_recorded_engine_answers_as_the_one_that_it_recorded(precision: Precision):
    device = torch.device("cuda")
    case = Case("tiny", (128, 128), 2, precision, "graph")
    model = narrowed(settled_model(VARIANTS["tiny"], (128, 128), device), precision, case.shape_hw)
    eager = EagerEngine(model, pictures(2, case.shape_hw, device), precision)
    recorded = GraphEngine(eager)
    recorded.images.copy_(recorded.images.flip(0))  # what is replayed reads new pictures at the old place
    recorded.run()
    found = [output.clone() for output in recorded.outputs]
    eager.run()
    for one, other in zip(found, eager.outputs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_recorded_engine_can_be_timed():
    device = torch.device("cuda")
    model = narrowed(settled_model(VARIANTS["tiny"], (128, 128), device), "fp16", (128, 128))
    rounds = EngineRounds(GraphEngine(EagerEngine(model, pictures(1, (128, 128), device), "fp16")), device, 0.05)
    assert rounds() > 0
    assert rounds.lone_ms[0] > 0
