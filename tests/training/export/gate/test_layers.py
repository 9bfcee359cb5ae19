"""Which layer breaks an engine: one whose scale was damaged is found by its name, in both formats and by the gate."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import numpy_helper
from openvino import opset13

from training.checkpoint import load_network
from training.data import CocoDataset
from training.export.gate import Request, promote
from training.export.gate.layers import Layer, compare_layers, describe, standing_out
from training.export.gate.probe import OnnxProbe, OpenvinoProbe, Probe, names_of, torch_look
from training.export.gate.staged import read_staged
from training.export.gate.subject import Subject
from training.export.openvino_session import OpenvinoSession
from training.export.passports import describe_engine, known_image, write_passport

DAMAGED = "rows.lead4.conv"
AFTER = ("rows.lead5.conv", "head.lead.1", "head.lead.2")


def damage_openvino(version: Path, node: str) -> None:
    """Make one layer's weights half as large again as they are, by their scale."""
    graph = ov.Core().read_model(version / "model.int8.xml")
    (convolution,) = [each for each in graph.get_ops() if each.get_friendly_name() == node]  # it has no bias
    scaled = convolution.input_value(1).get_node()
    scale = scaled.input_value(1).get_node().get_data()
    scaled.input(1).replace_source_output(opset13.constant(scale * 1.5).output(0))
    ov.save_model(graph, version / "damaged.xml")
    for suffix in (".xml", ".bin"):
        (version / f"damaged{suffix}").replace(version / f"model.int8{suffix}")


def damage_onnx(version: Path, node: str) -> None:
    model = onnx.load(version / "model.int8.onnx")
    (weights,) = [each.input[1] for each in model.graph.node if each.name == node]
    (scale,) = [each.input[1] for each in model.graph.node if each.output[0] == weights]
    (stored,) = [each for each in model.graph.initializer if each.name == scale]
    stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) * np.float32(1.5), scale))
    onnx.save(model, version / "model.int8.onnx")


def open_openvino(version: Path, names: dict[str, str]) -> Probe:
    return OpenvinoProbe(version / "model.int8.xml", names, "f32")


def open_onnx(version: Path, names: dict[str, str]) -> Probe:
    return OnnxProbe(version / "model.int8.onnx", names)


@pytest.fixture
def model(quantised: Path, tmp_path: Path) -> Path:
    """A copy of the quantised model that a test may damage."""
    return Path(shutil.copytree(quantised, tmp_path / "small"))


def layers_of(model: Path, subject: Subject, opened: Callable[[Path, dict[str, str]], Probe]) -> dict[str, Layer]:
    names = names_of(model / "1" / "model.onnx")
    parent = OnnxProbe(model / "1" / "model.onnx", names)
    found = compare_layers(parent.whole, opened(model / "1", names), subject.laid())
    return {layer.name: layer for layer in found}


def node_of(model: Path) -> str:
    return next(node for node, name in names_of(model / "1" / "model.onnx").items() if name == DAMAGED)


FORMATS = [(open_openvino, damage_openvino), (open_onnx, damage_onnx)]


@pytest.mark.parametrize(("opened", "damage"), FORMATS, ids=["openvino", "onnx"])
def test_the_layer_whose_scale_was_damaged_is_named_and_no_other(model: Path, subject: Subject, opened, damage) -> None:
    before = layers_of(model, subject, opened)
    damage(model / "1", node_of(model))
    after = layers_of(model, subject, opened)
    assert len(before) == len(after) == 8
    assert min(layer.own for layer in before.values()) > 25
    assert [layer.name for layer in standing_out(tuple(after.values()))] == [DAMAGED]
    assert after[DAMAGED].own == pytest.approx(6, abs=1)  # half of the signal is noise


@pytest.mark.parametrize(("opened", "damage"), FORMATS, ids=["openvino", "onnx"])
def test_noise_of_a_layer_reaches_those_after_it_and_is_not_theirs(
    model: Path, subject: Subject, opened, damage
) -> None:
    before = layers_of(model, subject, opened)
    damage(model / "1", node_of(model))
    after = layers_of(model, subject, opened)
    for name in AFTER:
        assert after[name].own == pytest.approx(before[name].own, abs=0.1)
        assert after[name].reached < before[name].reached - 10
    untouched = set(after) - {DAMAGED, *AFTER}
    assert all(after[name].reached == pytest.approx(before[name].reached, abs=0.1) for name in untouched)


def test_the_exported_graph_answers_as_torch_does_layer_by_layer(staged: Path, parent: Path, subject: Subject) -> None:
    names = names_of(staged / "1" / "model.onnx")
    found = compare_layers(
        torch_look(load_network(parent)[0]), OnnxProbe(staged / "1" / "model.onnx", names), subject.laid()
    )
    assert {layer.name for layer in found} == set(names.values())
    assert min(layer.reached for layer in found) > 60
    assert describe(found).startswith("no layer stands out (each keeps ")


def test_numbers_that_are_not_finite_are_noise_without_end() -> None:
    class Broken:
        def whole(self, image: np.ndarray) -> dict[str, np.ndarray]:
            return {"one": np.full((1, 1, 1, 1), np.nan, np.float32), "two": np.ones((1, 1, 1, 1), np.float32)}

        def each(self, image: np.ndarray, given: object) -> dict[str, np.ndarray]:
            return self.whole(image)

    def parent(_: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.ones((1, 1, 1, 1), np.float32) for name in ("one", "two")}

    found = compare_layers(parent, Broken(), [np.zeros((1, 8, 8, 3), np.uint8)])  # type: ignore[arg-type]
    assert found == (Layer("one", -120.0, -120.0), Layer("two", 120.0, 120.0))


def test_the_gate_refuses_it_and_names_class_and_layer(model: Path, seen_set: CocoDataset, tmp_path: Path) -> None:
    damage_openvino(model / "1", node_of(model))
    file, spec = model / "1" / "model.int8.xml", read_staged(model).spec
    # As if the quantiser itself had written it so.
    own = [known_image(OpenvinoSession(file).run, shape_hw) for shape_hw in spec.input_shapes]
    write_passport(file, describe_engine(file, spec, precision="int8", versions={}, known_images=own))
    promotion = promote(Request(model, tmp_path / "out", seen_set, "val.json", engines=("int8",)))
    assert promotion.folder is None
    assert promotion.refusal.startswith("not promoted: model.int8.xml in int8: ")
    assert "class " in promotion.refusal
    assert f"noisiest layer {DAMAGED} " in promotion.refusal
    (layers,) = promotion.layers.values()
    assert (len(layers), layers[0].name) == (5, DAMAGED)
    assert any(note.endswith(f'wide = ["{DAMAGED}"]') for note in promotion.notes)
    assert not (tmp_path / "out").exists()


def test_of_one_that_the_service_holds_back_the_layer_is_named_too(
    model: Path, seen_set: CocoDataset, tmp_path: Path
) -> None:
    damage_openvino(model / "1", node_of(model))
    file = model / "1" / "model.int8.xml"
    write_passport(file, describe_engine(file, read_staged(model).spec, precision="int8", versions={}))
    promotion = promote(Request(model, tmp_path / "out", seen_set, "val.json", engines=("int8",)))
    assert promotion.refusal.startswith("not promoted: int8: small/1 is not ready: known image ")
    assert f"noisiest layer {DAMAGED} " in promotion.refusal
