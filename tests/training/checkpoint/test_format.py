"""Our own checkpoints: what is saved comes back, and nothing else is taken for one."""

import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError, load_network
from training.checkpoint.weights import read_weights
from training.nets import VARIANTS, build_network


def small() -> Checkpoint:
    return Checkpoint(
        variant="tiny",
        form="training",
        class_names=("Car", "Bus"),
        state={"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(3)},
        optimizer={"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        epoch=4,
        iteration=77,
        config={"variant": "tiny", "augmentation": {"stretch": (1.0, 1.6)}},
        metrics={"AP": 0.5},
        extra={"torch_rng": torch.get_rng_state()},
    )


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.pt"
    small().save(path)
    loaded = Checkpoint.load(path)
    assert torch.equal(loaded.state["a.weight"], small().state["a.weight"])
    assert torch.equal(loaded.extra["torch_rng"], small().extra["torch_rng"])
    plain = [item.name for item in fields(Checkpoint) if item.name not in ("state", "optimizer", "extra")]
    assert [getattr(loaded, name) for name in plain] == [getattr(small(), name) for name in plain]
    assert loaded.optimizer is not None
    assert loaded.optimizer["param_groups"] == [{"lr": 0.1, "params": [0]}]


def test_averaged_weights_come_first() -> None:
    averaged = {"a.weight": torch.zeros(1)}
    assert small().weights is not averaged
    assert replace(small(), ema=averaged).weights is averaged


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    small().save(path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"checkpoint\['extra'\]\['where'\]"):
        replace(small(), extra={"where": tmp_path}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file"):
        small().save(tmp_path / "file" / "last.pt")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00."], ids=["empty", "text", "pickle"])
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt: "):
        Checkpoint.load(path)


def test_other_torch_files_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this trainer"):
        Checkpoint.load(tmp_path / "x.pt")
    torch.save(Path("/etc"), tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match=r"y\.pt: not a checkpoint"):
        Checkpoint.load(tmp_path / "y.pt")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: No such file"):
        Checkpoint.load(tmp_path / "none.pt")


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    small().save(path)
    data = bytearray(path.read_bytes())
    data[data.find(torch.arange(6.0).numpy().tobytes()) + 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        Checkpoint.load(path)


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("reader", [Checkpoint.load, read_weights])
def test_whatever_bits_are_flipped_the_refusal_is_one_error(tmp_path: Path, reader: Any, rewritten: bool) -> None:
    path = tmp_path / "x.pt"
    torch.save({"format": "yolov7-service checkpoint", "format_version": 2}, path)
    if rewritten:  # compressed, as torch never does
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
    data = path.read_bytes()
    for place in range(0, len(data), 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x90]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match=r"x\.pt: "):
            reader(path)


def test_a_protocol_that_torch_warns_of_is_one_error_too(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"format": "yolov7-service checkpoint"}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            odd = content[:1] + bytes([30]) + content[2:] if name.endswith("data.pkl") else content
            archive.writestr(name, odd)
    with pytest.raises(CheckpointError, match=r"x\.pt: "):
        Checkpoint.load(path)


def test_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    small().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(path)


def test_another_version_or_another_set_of_entries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    table = {item.name: getattr(small(), item.name) for item in fields(Checkpoint)}
    torch.save({"format": "yolov7-service checkpoint", "format_version": 2, **table}, path)
    with pytest.raises(CheckpointError, match="version 2"):
        Checkpoint.load(path)
    torch.save({"format": "yolov7-service checkpoint", **table}, path)
    with pytest.raises(CheckpointError, match="version None"):
        Checkpoint.load(path)
    torch.save({"format": "yolov7-service checkpoint", "format_version": 1, **table, "mood": 1}, path)
    with pytest.raises(CheckpointError, match="mood"):
        Checkpoint.load(path)


def tiny_checkpoint(**changes: Any) -> Checkpoint:
    with torch.device("meta"):
        state = build_network(VARIANTS["tiny"], num_classes=2, form="training").state_dict()
    zeros = {key: torch.zeros_like(value, device="cpu") for key, value in state.items()}
    return replace(Checkpoint("tiny", "training", ("Car", "Bus"), zeros), **changes)


def test_a_network_is_built_with_its_averaged_weights(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    averaged = {key: value + 1 for key, value in checkpoint.state.items()}
    replace(checkpoint, ema=averaged).save(tmp_path / "x.pt")
    network, loaded = load_network(tmp_path / "x.pt")
    assert loaded.class_names == ("Car", "Bus")
    assert all(torch.equal(value, averaged[key]) for key, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "v8"}, "unknown variant 'v8'"),
        ({"variant": "v7"}, "not those of v7"),
        ({"class_names": ("Car",)}, "not those of tiny .*size mismatch"),
        ({"state": {}}, "not those of tiny .*Missing"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tiny_checkpoint(**changes).save(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "x.pt")
