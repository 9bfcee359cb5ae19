"""The zip archives of ``torch.save``: the tree of records in ``data.pkl``, the tensors whose bytes lie in ``data/*``.

Every size is compared with the archive's own before a byte is read: entries are stored, never compressed, do not
overlap, and the tensors taken together are no larger than the file; a file that claims more is refused. Nothing in it
is executed (``pickle_reader.py``). This module does not know which tensors make a network.
"""

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import torch
from torch import Tensor

from training.checkpoint.format import CheckpointError
from training.checkpoint.pickle_reader import (
    MAX_PICKLE_BYTES,
    Global,
    Instance,
    PickleError,
    Rebuild,
    is_plain_key,
    read_pickle,
)

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A run of numbers in the archive, not read yet."""

    key: str
    dtype: torch.dtype
    length: int  # numbers, not bytes


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view into a storage, not read yet."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TorchArchive:
    """One open archive. A context manager; every method raises CheckpointError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._size = path.stat().st_size
            self._zip = zipfile.ZipFile(path)
        except OSError as exc:
            raise CheckpointError(f"{path}: {exc.strerror or exc}") from exc
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as exc:
            raise CheckpointError(
                f"{path}: not a torch file of version 1.6 or later (an older one: load it there and save it again)"
            ) from exc
        try:
            self._entries = _checked_entries(self._zip, self._size)
        except PickleError as exc:
            self._zip.close()
            raise CheckpointError(f"{path}: refused: {exc}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()

    def tree(self) -> object:
        """Return what was saved: plain values, ``Instance`` for objects, ``TensorRecord`` for tensors."""
        try:
            if self._entries.get("byteorder") and self._read("byteorder", limit=16) != b"little":
                raise PickleError("its numbers are not little-endian")
            data = self._read("data.pkl", limit=MAX_PICKLE_BYTES)
            return read_pickle(data, rebuild=_REBUILD, persistent=self._storage)
        except PickleError as exc:
            raise CheckpointError(f"{self._path}: refused: {exc}") from exc

    def tensors(self, records: Mapping[str, TensorRecord]) -> dict[str, Tensor]:
        """Read the tensors of ``records``, each into memory of its own."""
        total = sum(math.prod(record.shape) * record.storage.dtype.itemsize for record in records.values())
        if total > self._size:
            raise CheckpointError(f"{self._path}: refused: {total} bytes of tensors in a file of {self._size}")
        try:
            storages = {record.storage for record in records.values()}
            numbers = {storage: self._numbers(storage) for storage in storages}
        except PickleError as exc:
            raise CheckpointError(f"{self._path}: refused: {exc}") from exc
        return {
            name: numbers[record.storage].as_strided(record.shape, record.stride, record.offset).clone()
            for name, record in records.items()
        }

    def _numbers(self, storage: StorageRecord) -> Tensor:
        data = self._read(f"data/{storage.key}", limit=self._size)
        if not data:  # which frombuffer refuses
            return torch.empty(0, dtype=storage.dtype)
        return torch.frombuffer(bytearray(data), dtype=storage.dtype)

    def _storage(self, identity: object) -> StorageRecord:
        """Answer a persistent id: ('storage', class, key, device, length). The device is ignored."""
        if not isinstance(identity, tuple) or len(identity) != 5:
            raise PickleError("it refers to something that is no storage")
        tag, kind, key, _, length = identity
        if tag != "storage" or not isinstance(kind, Global) or kind.module != "torch" or kind.name not in _DTYPES:
            raise PickleError("it refers to something that is no storage of numbers")
        if not isinstance(key, str) or not (key.isascii() and key.isdigit()):
            raise PickleError("a storage's name is not a number")
        dtype = _DTYPES[kind.name]
        entry = self._entries.get(f"data/{key}")
        if entry is None or type(length) is not int or entry.file_size != length * dtype.itemsize:
            raise PickleError(f"the storage {key[:20]} is absent or has another size than stated")
        return StorageRecord(key, dtype, length)

    def _read(self, name: str, *, limit: int) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise PickleError(f"it has no {name}: not written by torch.save")
        if entry.file_size > limit:
            raise PickleError(f"{name} is {entry.file_size} bytes; {limit} are allowed")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as exc:
            raise PickleError(f"{name} is damaged ({exc})") from exc


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name without the top folder that torch puts around them."""
    infos = archive.infolist()
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise PickleError("it holds compressed entries, which torch.save never writes")
    if sum(info.file_size for info in infos) > size:
        raise PickleError("its entries overlap")
    entries = {"/".join(PurePosixPath(info.filename).parts[1:]): info for info in infos}
    if len(entries) != len(infos):
        raise PickleError("two of its entries have the same name")
    if "constants.pkl" in entries:
        raise PickleError("it is a TorchScript program, not weights")
    return entries


def _tensor_record(arguments: tuple[object, ...]) -> TensorRecord:
    """Check what ``torch._utils._rebuild_tensor_v2`` is given: storage, offset, shape, stride, and what we ignore."""
    match arguments:
        case (StorageRecord() as storage, int() as offset, tuple() as shape, tuple() as stride, *_):
            sizes = _integers(shape)
            steps = _integers(stride)
        case _:
            raise PickleError("it describes a tensor in an unknown way")
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    count = math.prod(sizes)
    if len(sizes) > _MAX_DIMENSIONS or offset < 0 or count > storage.length or (count and last >= storage.length):
        raise PickleError(f"a tensor reaches outside its storage {storage.key[:20]}")
    return TensorRecord(storage, offset, sizes, steps)


def _integers(values: tuple[object, ...]) -> tuple[int, ...]:
    numbers = tuple(value for value in values if type(value) is int and 0 <= value < 1 << 40)
    if len(numbers) != len(values):
        raise PickleError("a tensor's shape is not made of sizes")
    return numbers


def _first_tensor(arguments: tuple[object, ...]) -> TensorRecord:
    """A parameter is its data; whether it is trained and what hooks it has do not matter here."""
    if not arguments or not isinstance(arguments[0], TensorRecord):
        raise PickleError("a parameter is no tensor")
    return arguments[0]


def _ordered(arguments: tuple[object, ...]) -> dict[object, object]:
    if arguments:
        raise PickleError("it fills an OrderedDict in an unknown way")
    return {}


def _set(arguments: tuple[object, ...]) -> set[object]:
    match arguments:
        case ([*items],) if all(map(is_plain_key, items)):
            return set(items)
    raise PickleError("it describes a set in an unknown way")


def _bytes(arguments: tuple[object, ...]) -> bytes:
    match arguments:
        case (str() as text, "latin1"):
            return text.encode("latin-1")
    raise PickleError("it encodes text in an unknown way")


def _inert(kind: Global) -> Callable[[tuple[object, ...]], Instance]:
    return lambda _: Instance(kind)


_NUMPY = [
    *(Global(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    Global("numpy", "dtype"),
]
# All that a file may "call", each answered by our own code above; numbers of numpy and devices are never looked at.
_REBUILD: Rebuild = {
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor_record,
    Global("torch._utils", "_rebuild_parameter"): _first_tensor,
    Global("torch._utils", "_rebuild_parameter_with_state"): _first_tensor,
    Global("collections", "OrderedDict"): _ordered,
    Global("__builtin__", "set"): _set,
    Global("builtins", "set"): _set,
    Global("_codecs", "encode"): _bytes,
    Global("torch", "Size"): lambda arguments: arguments[0],
    **{kind: _inert(kind) for kind in (*_NUMPY, Global("torch", "device"))},
}
