"""Hostile archives: what torch writes is read as torch reads it; sizes and names that do not fit are refused."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint.archive import TensorRecord, TorchArchive
from training.checkpoint.format import CheckpointError


def read(path: Path) -> dict[str, torch.Tensor]:
    with TorchArchive(path) as archive:
        tree = archive.tree()
        assert isinstance(tree, dict)
        return archive.tensors({name: record for name, record in tree.items() if isinstance(record, TensorRecord)})


class Storage:
    """Pickled as a persistent id."""

    def __init__(self, *identity: Any) -> None:
        self.identity = identity


class Tensor:
    """Pickled as torch pickles a tensor."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, Storage) else None


def write(path: Path, tree: object, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    data = io.BytesIO()
    Pickler(data, 2).dump(tree)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {"a/data.pkl": data.getvalue(), **entries}.items():
            archive.writestr(name, content)
    return path


def one_tensor(path: Path, *, identity: tuple[Any, ...], offset: Any = 0, size: Any = (2,), stride: Any = (1,)) -> Path:
    tensor = Tensor(Storage(*identity), offset, size, stride, False, OrderedDict())
    return write(path, {"w": tensor}, {"a/data/0": b"\0" * 8, "b/../../x": b"\0" * 8, "a/secret": b"\0" * 8})


GOOD = ("storage", torch.FloatStorage, "0", "cpu", 2)


def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    kinds = [
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    ]
    saved = {str(kind): base.to(kind) for kind in kinds} | {
        "view": base[1:3, 2:],
        "transposed": base.t(),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(5),
        "flag": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(base),
        "parameter with attributes": torch.nn.Parameter(base),
    }
    saved["parameter with attributes"].note = "x"  # type: ignore[attr-defined]
    torch.save(saved, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt")
    assert found.keys() == saved.keys()
    for name, tensor in saved.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_handmade_archive_is_good(tmp_path: Path) -> None:
    assert read(one_tensor(tmp_path / "x.pt", identity=GOOD))["w"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "identity",
    [
        ("module", torch.FloatStorage, "0", "cpu", 2),
        ("storage", torch.FloatStorage, "0", "cpu", 3),
        ("storage", torch.DoubleStorage, "0", "cpu", 2),
        ("storage", torch.FloatStorage, "1", "cpu", 2),
        ("storage", torch.FloatStorage, "../secret", "cpu", 2),
        ("storage", torch.FloatStorage, "/etc/passwd", "cpu", 2),
        ("storage", torch.FloatStorage, 0, "cpu", 2),
        ("storage", torch.FloatStorage, "0", "cpu", -2),
        ("storage", torch.FloatStorage, "0", "cpu", True),
        ("storage", torch.FloatStorage, "0", "cpu"),
        ("storage", print, "0", "cpu", 2),
        ("storage", "FloatStorage", "0", "cpu", 2),
        (),
    ],
    ids=str,
)
def test_persistent_ids_name_a_storage_of_the_stated_size_or_are_refused(tmp_path: Path, identity: Any) -> None:
    with pytest.raises(CheckpointError, match="refused"):
        read(one_tensor(tmp_path / "x.pt", identity=identity))


@pytest.mark.parametrize(
    "view",
    [
        {"size": (3,)},
        {"offset": 1},
        {"offset": -1},
        {"size": (1 << 20, 1 << 20), "stride": (0, 0)},
        {"size": (2,), "stride": (2,)},
        {"size": (2,), "stride": (-1,)},
        {"size": (-1,)},
        {"size": (1,) * 9, "stride": (1,) * 9},
        {"size": (2, 1)},
        {"size": ("2",)},
        {"size": [2]},
        {"offset": "0"},
    ],
    ids=str,
)
def test_views_stay_inside_their_storage(tmp_path: Path, view: Any) -> None:
    with pytest.raises(CheckpointError, match="refused"):
        read(one_tensor(tmp_path / "x.pt", identity=GOOD, **view))


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.pt", {}, {"a/data/0": b"\0" * 1_000_000}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="compressed"):
        read(path)


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pt", {}, {f"a/data/{i}": bytes([i]) * 4000 for i in range(3)})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    directory, end = data[start : data.index(b"PK\x05\x06")], data[data.index(b"PK\x05\x06") :]
    last = directory.rindex(b"PK\x01\x02")
    again = [directory[last:].replace(b"a/data/2", b"a/data/%d" % i) for i in range(3, 9)]
    count = (len(again) + 4).to_bytes(2, "little")
    size = (len(directory) + sum(map(len, again))).to_bytes(4, "little")
    path.write_bytes(data[:start] + directory + b"".join(again) + end[:8] + count + count + size + end[16:])
    with pytest.raises(CheckpointError, match="overlap"):
        read(path)


def test_many_views_of_one_storage_cannot_outgrow_the_file(tmp_path: Path) -> None:
    tensors = {f"w{i}": Tensor(Storage(*GOOD[:4], 500), 0, (500,), (1,), False, OrderedDict()) for i in range(200)}
    with pytest.raises(CheckpointError, match="bytes of tensors in a file"):
        read(write(tmp_path / "x.pt", tensors, {"a/data/0": b"\0" * 2000}))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="same name"):
        read(write(tmp_path / "x.pt", {}, {"a/data/0": b"", "b/data/0": b""}))


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = one_tensor(tmp_path / "x.pt", identity=GOOD)
    path.write_bytes(path.read_bytes().replace(b"\0" * 8, b"\1" * 8, 1))
    with pytest.raises(CheckpointError, match="damaged"):
        read(path)


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"1\.6 or later"):
        read(tmp_path / "old.pt")
    write(tmp_path / "script.pt", {}, {"a/constants.pkl": b""})
    with pytest.raises(CheckpointError, match="TorchScript"):
        read(tmp_path / "script.pt")
    write(tmp_path / "big.pt", {}, {"a/byteorder": b"big"})
    with pytest.raises(CheckpointError, match="little-endian"):
        read(tmp_path / "big.pt")
    with pytest.raises(CheckpointError, match="No such file"):
        read(tmp_path / "none.pt")
