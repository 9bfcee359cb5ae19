"""Official files: their tensors arrive under our names, the variant is recognised, and strangers are refused."""

import json
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.checkpoint import CheckpointError, import_official
from training.checkpoint.official import recognise
from training.checkpoint.unfused import unfuse
from training.nets import VARIANTS, Network, build_network, fuse
from training.nets.reparam import FusedConv, RepConv, fuse_block

M = TypeVar("M", bound=nn.Module)
GRAPHS = [(name, form) for name in VARIANTS for form in ("training", "deploy")]


@pytest.fixture
def official_classes() -> Any:
    """Empty module classes under the names of the reference's, gone again when the test ends."""
    modules = {name: types.ModuleType(name) for name in ("models", "models.yolo", "models.common")}
    for module, name in (("models.yolo", "Model"), ("models.common", "Conv")):
        setattr(modules[module], name, type(name, (nn.Module,), {"__module__": module}))
    sys.modules.update(modules)
    yield modules["models.yolo"].Model, modules["models.common"].Conv
    for name in modules:
        del sys.modules[name]


def official_state(network: Network) -> dict[str, Tensor]:
    state, official = network.state_dict(), network.official_keys()
    return {official[key]: value for key, value in state.items()}


def zeros(name: str, form: Any = "deploy") -> dict[str, Tensor]:
    """The tensors of a graph of three classes, all zero."""
    with torch.device("meta"):
        state = official_state(build_network(VARIANTS[name], num_classes=3, form=form))
    return {key: torch.zeros_like(value, device="cpu") for key, value in state.items()}


def scattered(module: M) -> M:
    """Give normalisations values that change something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.bias)
            part.running_var = torch.rand(part.num_features) + 0.5
    return module.eval()


def as_modules(state: dict[str, Tensor], root: nn.Module, kind: Callable[[], nn.Module]) -> nn.Module:
    """Hang tensors into a tree of modules so that ``root.state_dict()`` has their names."""
    for name, tensor in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, kind())
            module = module.get_submodule(part)
        if "running" in last or "anchor" in last or last == "num_batches_tracked":
            module.register_buffer(last, tensor)
        else:
            module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return root


def test_a_pickled_model_is_imported_and_none_of_its_classes_is_needed(official_classes: Any, tmp_path: Path) -> None:
    network = build_network(VARIANTS["tiny-silu"], num_classes=2, form="training")
    model = as_modules(official_state(network), official_classes[0](), official_classes[1]).half()
    model.get_submodule("model.0").add_module("act", nn.SiLU())
    model.register_buffer("scratch", torch.zeros(3), persistent=False)
    model.names = ["Car", "Bus"]  # type: ignore[assignment]
    torch.save({"epoch": -1, "best_fitness": np.array([0.5]), "model": model, "ema": None}, tmp_path / "x.pt")
    for name in ("models", "models.yolo", "models.common"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing one now fails
    checkpoint, report = import_official(tmp_path / "x.pt")
    assert (checkpoint.variant, checkpoint.form, checkpoint.class_names) == ("tiny-silu", "training", ("Car", "Bus"))
    assert (report.taken, report.missing, report.unexpected, report.skipped) == (344, (), (), ())
    for key, value in network.state_dict().items():
        assert checkpoint.state[key].dtype == value.dtype
        torch.testing.assert_close(checkpoint.state[key], value, rtol=1e-3, atol=1e-6)


def test_averaged_weights_are_taken_first(official_classes: Any, tmp_path: Path) -> None:
    state = zeros("tiny")
    model, conv = official_classes
    averaged = {key: value + 1 for key, value in state.items()}
    saved = {"model": as_modules(state, model(), conv), "ema": as_modules(averaged, model(), conv)}
    torch.save(saved, tmp_path / "x.pt")
    checkpoint, _ = import_official(tmp_path / "x.pt")
    assert all(bool((value == 1).all()) for value in checkpoint.state.values())


@pytest.mark.parametrize(("name", "form"), GRAPHS)
def test_every_graph_is_recognised_by_shapes(name: str, form: Any) -> None:
    with torch.device("meta"):
        state = official_state(build_network(VARIANTS[name], num_classes=3, form=form))
    found = recognise(state, list(VARIANTS), num_classes=3, form=form)
    assert found.variant.name == {"tiny-silu": "tiny"}.get(name, name)


def test_bare_tensors_need_the_variant_only_for_tiny_silu(tmp_path: Path) -> None:
    state = zeros("tiny-silu")
    torch.save(state, tmp_path / "x.pt")
    assert import_official(tmp_path / "x.pt")[0].variant == "tiny"
    assert import_official(tmp_path / "x.pt", variant="tiny-silu")[0].variant == "tiny-silu"
    with pytest.raises(CheckpointError, match="closest: v7 in deploy form"):
        import_official(tmp_path / "x.pt", variant="v7")
    with pytest.raises(CheckpointError, match="unknown variant"):
        import_official(tmp_path / "x.pt", variant="v9")


def test_safetensors_and_prefixed_names_are_read(tmp_path: Path) -> None:
    state = zeros("tiny", "training")
    del state["model.0.bn.num_batches_tracked"]
    state["extra"] = torch.ones(1)
    safetensors.torch.save_file({f"module.{k}": v.contiguous() for k, v in state.items()}, tmp_path / "x.safetensors")
    checkpoint, report = import_official(tmp_path / "x.safetensors", class_names=("a", "b", "c"))
    assert checkpoint.class_names == ("a", "b", "c")
    assert report.missing == ("model.0.bn.num_batches_tracked",)
    assert report.unexpected == ("extra",)


def test_fused_files_compute_the_same(tmp_path: Path) -> None:
    network = scattered(build_network(VARIANTS["tiny"], num_classes=2, form="deploy"))
    torch.save(official_state(fuse(network)), tmp_path / "x.pt")
    checkpoint, report = import_official(tmp_path / "x.pt")
    assert report.fused
    restored = build_network(VARIANTS["tiny"], num_classes=2, form="deploy").eval()
    restored.load_state_dict(checkpoint.state)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for expected, found in zip(network(images), restored(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_fused_repconv_computes_the_same() -> None:
    block = scattered(RepConv(4, 6, nn.SiLU))
    fused = fuse_block(block)
    assert isinstance(fused, FusedConv)
    state = {f"model.9.rbr_reparam.{name}": value for name, value in fused.conv.state_dict().items()}
    restored = RepConv(4, 6, nn.SiLU).eval()
    (entry,) = RepConv.official
    official = {ours: theirs for ours, theirs in entry if ours != "identity"}
    restored.load_state_dict(
        {
            f"{ours}.{name.removeprefix(f'model.9.{theirs}.')}": value
            for name, value in unfuse(state).items()
            for ours, theirs in official.items()
            if name.startswith(f"model.9.{theirs}.")
        }
    )
    features = torch.rand(1, 4, 8, 8)
    torch.testing.assert_close(restored(features), block(features), rtol=1e-4, atol=1e-5)


def test_implicit_vectors_of_a_fused_file_are_not_applied_twice() -> None:
    state = {"model.77.ia.0.implicit": torch.rand(1, 4, 1, 1), "model.77.im.0.implicit": torch.rand(1, 4, 1, 1)}
    neutral = unfuse(state)
    assert neutral["model.77.ia.0.implicit"].flatten().tolist() == [0.0] * 4
    assert neutral["model.77.im.0.implicit"].flatten().tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update({"model.0.conv.weight": torch.ones(8, 3, 3, 3)}), "closest: tiny .* 1 tensors"),
        (lambda state: state.pop("model.1.bn.weight"), "closest: tiny .* first model.1.bn.weight"),
        (lambda state: state.pop("model.77.m.0.weight"), "no YOLOv7 detection head"),
        (lambda state: state.update({"model.77.m.0.weight": torch.ones(16, 128, 1, 1)}), "3 anchors"),
        (lambda state: state["model.0.conv.weight"].fill_(torch.nan), "not finite"),
        (lambda state: state.update({"note": "hello"}), "no model and no state_dict"),
        (lambda state: state.clear(), "no model and no state_dict"),
    ],
)
def test_other_networks_are_refused(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    state = zeros("tiny")
    change(state)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        import_official(tmp_path / "x.pt")


def test_names_must_count_as_many_as_the_classes(tmp_path: Path) -> None:
    torch.save(zeros("tiny"), tmp_path / "x.pt")
    assert import_official(tmp_path / "x.pt")[0].class_names == ("class 0", "class 1", "class 2")
    with pytest.raises(CheckpointError, match="1 class names for 3 classes"):
        import_official(tmp_path / "x.pt", class_names=("a",))


def test_trees_without_end_are_refused(official_classes: Any, tmp_path: Path) -> None:
    module = official_classes[0]()
    for _ in range(20):
        parent = official_classes[0]()
        parent._modules.update({"a": module, "b": module})
        module = parent
    torch.save({"model": module}, tmp_path / "wide.pt")
    with pytest.raises(CheckpointError, match="more modules than any network"):
        import_official(tmp_path / "wide.pt")
    module._modules["a"] = module
    torch.save({"model": module}, tmp_path / "cyclic.pt")
    with pytest.raises(CheckpointError, match="more modules than any network"):
        import_official(tmp_path / "cyclic.pt")


def test_names_that_would_garble_messages_are_refused(tmp_path: Path) -> None:
    torch.save({"\x1b[2J": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"is called '.x1b\[2J'"):
        import_official(tmp_path / "x.pt")


def test_our_own_checkpoint_is_recognised(tmp_path: Path) -> None:
    torch.save({"format": "yolov7-service checkpoint"}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="needs no import"):
        import_official(tmp_path / "x.pt")


def recipe(key: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The deterministic weights of the golden file (its README, section 1), gain of tiny."""
    rng = np.random.default_rng(zlib.crc32(key.encode("ascii")))
    last = key.rpartition(".")[2]
    if last in ("running_mean", "bias", "implicit"):
        scale = 0.2 if last == "bias" else 0.1
        return (1.0 if ".im." in key else 0.0) + scale * rng.standard_normal(shape)
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape)
    if last != "weight":
        return None
    kernel = rng.standard_normal(shape)
    kernel -= kernel.mean(axis=(1, 2, 3), keepdims=True)
    kernel *= np.sqrt(2.3 / np.prod(shape[1:]))
    return kernel


def test_a_file_in_the_official_format(shared_golden: Path, golden: Path) -> None:
    checkpoint, report = import_official(shared_golden / "official-format-tiny-train.pt")
    keys = json.loads((golden / "keys_tiny-train.json").read_text())["keys"]
    assert (report.variant, report.form, report.num_classes, report.taken) == ("tiny", "training", 80, len(keys))
    ours = build_network(VARIANTS["tiny"], num_classes=80, form="training").official_keys()
    for key, value in checkpoint.state.items():
        expected = recipe(ours[key], tuple(value.shape))
        if expected is not None:
            np.testing.assert_allclose(value.numpy(), expected, rtol=2e-3, atol=1e-6)
    assert checkpoint.state["head.anchors.pixels"].flatten().tolist()[:4] == [10.0, 13.0, 16.0, 30.0]
