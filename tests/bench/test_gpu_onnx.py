"""What TensorRT is given by the measurement of GPUs."""

import onnx
import pytest
import torch
from gpu_cases import Case
from gpu_network import settled_model
from gpu_onnx import exported

from training.export.session import ExportError
from training.export.tensorrt.compile import check_for_tensorrt
from training.nets import VARIANTS, DeployModel

TINY = ("tiny", (64, 64), 1)


@pytest.fixture(scope="module")
def tiny() -> DeployModel:
    return settled_model(VARIANTS["tiny"], (64, 64), torch.device("cpu"))


@pytest.mark.long
def test_the_graph_is_one_that_tensorrt_takes_and_its_kernels_are_narrow(tiny: DeployModel):
    proto = onnx.load_from_string(exported(Case(*TINY, "fp16", "tensorrt"), tiny))
    check_for_tensorrt(proto)
    kernels = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    types = {tensor.data_type for tensor in proto.graph.initializer if tensor.name in kernels}
    assert types == {onnx.TensorProto.FLOAT16}


def test_a_precision_that_no_graph_is_written_in_is_refused(tiny: DeployModel):
    with pytest.raises(ExportError, match="no graph of bf16"):
        exported(Case(*TINY, "bf16", "tensorrt"), tiny)
