"""What every convolution of an engine's file answers, to look for the one that breaks it.

A file is run in two ways: ``whole``, as it serves, so that the noise of earlier layers reaches the later ones, and
``each``, where every convolution is fed with what its parent's layers made, so that its own noise is left alone. A
convolution is called by its weights, as recipes of ``quantise`` call it: ``head.lead.0``, ``rows.stem1.conv``.

Nothing is known here of what the answers should be. All are float32 (1, C, H, W), of one picture, before activation.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from openvino import opset13

from training.export.openvino_session import Precision, openvino_line
from training.export.precision.anatomy import dissect
from training.export.session import INPUT, ExportError
from training.nets import DeployModel, Network

Layers = dict[str, NDArray[np.float32]]
Look = Callable[[NDArray[np.uint8]], Layers]
"""Outputs of all convolutions for a picture, uint8 (1, H, W, 3), by the names of their weights."""


def names_of(model: Path) -> dict[str, str]:
    """Return the convolutions of an exported model.onnx, nodes to weights: files made of it have the same nodes."""
    return {each.node: each.name for each in dissect(_load(model).graph).convolutions}


def torch_look(network: Network) -> Look:
    """Look into the graph that is exported of ``network``, run by torch."""
    model = DeployModel(network).network.eval()

    def look(image: NDArray[np.uint8]) -> Layers:
        found: Layers = {}
        hooks = [
            module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.numpy().copy()}))
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Conv2d)
        ]
        try:
            with torch.inference_mode():
                model(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    return look


class OnnxProbe:
    """An .onnx file in ONNX Runtime. Raises ExportError."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        try:
            model = onnx.shape_inference.infer_shapes(_load(path))
        except onnx.shape_inference.InferenceError as exc:
            raise ExportError(f"{path}: {str(exc).splitlines()[0]}") from exc
        self._types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
        self._taps = {names[node.name]: node.output[0] for node in model.graph.node if node.name in names}
        del model.graph.output[:]
        model.graph.output.extend(self._value(tensor) for tensor in self._taps.values())
        self._whole = _session(model)
        self._each = _session(self._cut(model))

    def whole(self, image: NDArray[np.uint8]) -> Layers:
        """As it serves."""
        return self._run(self._whole, {INPUT: image})

    def each(self, image: NDArray[np.uint8], given: Layers) -> Layers:
        """Each fed with ``given``, which must hold all layers."""
        fed: dict[str, NDArray[Any]] = {INPUT: image}
        for name, tensor in self._taps.items():
            fed[_fed(tensor)] = given[name].astype(np.float16 if self._is_half(tensor) else np.float32)
        return self._run(self._each, fed)

    def _cut(self, model: ModelProto) -> ModelProto:
        """Let whatever reads a convolution's answer read an input of the graph instead."""
        cut = ModelProto()
        cut.CopyFrom(model)
        tensors = set(self._taps.values())
        for node in cut.graph.node:
            for place, name in enumerate(node.input):
                if name in tensors:
                    node.input[place] = _fed(name)
        cut.graph.input.extend(self._value(tensor, _fed(tensor)) for tensor in self._taps.values())
        return cut

    def _value(self, tensor: str, name: str = "") -> onnx.ValueInfoProto:
        kind = TensorProto.FLOAT16 if self._is_half(tensor) else TensorProto.FLOAT
        return onnx.helper.make_tensor_value_info(name or tensor, kind, ["n", None, None, None])

    def _is_half(self, tensor: str) -> bool:
        return bool(self._types.get(tensor) == TensorProto.FLOAT16)

    def _run(self, session: Any, fed: Mapping[str, NDArray[Any]]) -> Layers:
        try:
            answers = session.run(list(self._taps.values()), fed)
        except Exception as exc:  # ONNX Runtime's own exceptions share no public base
            raise ExportError(f"ONNX Runtime does not run it: {_first_line(exc)}") from exc
        return {name: answer.astype(np.float32) for name, answer in zip(self._taps, answers, strict=True)}


class OpenvinoProbe:
    """A model.onnx or an .xml in OpenVINO, compiled for each shape of a picture. Raises ExportError."""

    def __init__(self, path: Path, names: Mapping[str, str], precision: Precision) -> None:
        self._core = ov.Core()
        self._names = names
        self._precision = precision
        self._requests: dict[tuple[tuple[int, ...], bool], tuple[list[str], Any]] = {}
        try:
            self._graph = self._core.read_model(path)
        except RuntimeError as exc:
            raise ExportError(f"OpenVINO does not load {path}: {openvino_line(exc)}") from exc

    def whole(self, image: NDArray[np.uint8]) -> Layers:
        """As it serves."""
        return self._run(image, None)

    def each(self, image: NDArray[np.uint8], given: Layers) -> Layers:
        """Each fed with ``given``, which must hold all layers."""
        return self._run(image, given)

    def _run(self, image: NDArray[np.uint8], given: Layers | None) -> Layers:
        key = image.shape, given is not None
        try:
            if key not in self._requests:
                self._requests[key] = self._compile(image.shape, cut=given is not None)
            names, request = self._requests[key]
            fed = [image, *([given[name] for name in names] if given is not None else [])]
            request.infer(dict(enumerate(fed)))
        except RuntimeError as exc:
            raise ExportError(f"OpenVINO does not run it: {openvino_line(exc)}") from exc
        answers = [request.get_output_tensor(index).data for index in range(len(names))]
        return {name: answer.astype(np.float32) for name, answer in zip(names, answers, strict=True)}

    def _compile(self, shape: Sequence[int], *, cut: bool) -> tuple[list[str], Any]:
        graph = self._graph.clone()
        graph.reshape({INPUT: ov.PartialShape(list(shape))})
        nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
        taps = {name: nodes[node].output(0) for node, name in self._names.items() if node in nodes}
        inputs = [graph.input(INPUT).get_node()]
        for output in taps.values() if cut else ():
            fed = opset13.parameter(output.get_partial_shape(), output.get_element_type())
            for reader in output.get_target_inputs():
                reader.replace_source_output(fed.output(0))
            inputs.append(fed)
        probed = ov.Model([opset13.result(output) for output in taps.values()], inputs, "probed")
        properties = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
        return list(taps), self._core.compile_model(probed, "CPU", properties).create_infer_request()


Probe = OnnxProbe | OpenvinoProbe


def _load(path: Path) -> ModelProto:
    try:
        return onnx.load(path)
    except DecodeError as exc:
        raise ExportError(f"{path}: {exc}") from exc


def _session(model: ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what nobody reads any more is dropped with a warning each
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        raise ExportError(f"ONNX Runtime does not load it: {_first_line(exc)}") from exc


def _fed(tensor: str) -> str:
    return f"{tensor}.fed"


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
