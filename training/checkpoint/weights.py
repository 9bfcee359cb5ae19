"""Weights under official names, from whatever file holds them: a pickled model, a state_dict, or safetensors.

A pickled model is walked as inert records, as ``state_dict`` would walk the living module; nothing is executed
(``archive.py``). This module does not know which names a network needs (``official.py``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from training.checkpoint.archive import TensorRecord, TorchArchive
from training.checkpoint.format import FORMAT, CheckpointError
from training.checkpoint.pickle_reader import Instance

# A small file can describe endless trees by naming the same parts again; the largest network has 3,000 modules.
_MAX_MODULES = 20_000
_MAX_DEPTH = 32
_MAX_OWN_TENSORS = 100
_NAME = re.compile(r"[A-Za-z0-9_.\-]{0,200}")


@dataclass(frozen=True, slots=True)
class NamedWeights:
    """Tensors by official name, and what a pickled model says besides."""

    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None = None
    activations: frozenset[str] = frozenset()  # class names such as SiLU; empty where only tensors were saved


def read_weights(path: Path) -> NamedWeights:
    """Read the weights in ``path``. Raises CheckpointError."""
    if path.suffix == ".safetensors":
        return _named(_read_safetensors(path), path)
    with TorchArchive(path) as archive:
        found = _model_in(archive.tree(), path)
        if isinstance(found, dict):
            return _named(archive.tensors(found), path)
        modules = _walk(found, path)
        records = {name: record for prefix, module in modules for name, record in _own_tensors(module, prefix)}
        weights = _named(archive.tensors(records), path)
        activations = {m.kind.name for _, m in modules if m.kind.module == "torch.nn.modules.activation"}
        return replace(weights, class_names=_names(found.state.get("names")), activations=frozenset(activations))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except OSError as exc:
        raise CheckpointError(f"{path}: {exc.strerror or exc}") from exc
    except SafetensorError as exc:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged ({exc})") from exc


def _model_in(tree: object, path: Path) -> Instance | dict[str, TensorRecord]:
    """Return the model: averaged weights if there are any, else ``model``, else the object itself."""
    if isinstance(tree, dict):
        if tree.get("format") == FORMAT:
            raise CheckpointError(f"{path}: a checkpoint of this trainer needs no import")
        for name in ("ema", "model", "state_dict"):
            if isinstance(tree.get(name), dict | Instance):
                tree = tree[name]
                break
    if isinstance(tree, Instance):
        return tree
    if isinstance(tree, dict):
        records = {k: v for k, v in tree.items() if isinstance(k, str) and isinstance(v, TensorRecord)}
        if records and len(records) == len(tree):
            return records
    raise CheckpointError(f"{path}: holds no model and no state_dict")


def _walk(root: Instance, path: Path) -> list[tuple[str, Instance]]:
    """Return each module with the prefix of its tensors' names. A hostile file can nest and share them without end."""
    found, pending = [], [("", root, 0)]
    while pending:
        prefix, module, depth = pending.pop()
        found.append((prefix, module))
        if depth > _MAX_DEPTH or len(found) + len(pending) > _MAX_MODULES:
            raise CheckpointError(f"{path}: refused: more modules than any network has")
        children = module.state.get("_modules")
        for name, child in children.items() if isinstance(children, dict) else ():
            if isinstance(child, Instance) and isinstance(name, str) and _NAME.fullmatch(prefix + name):
                pending.append((f"{prefix}{name}.", child, depth + 1))
    return found


def _own_tensors(module: Instance, prefix: str) -> Iterator[tuple[str, TensorRecord]]:
    """Yield the parameters and persistent buffers of one module, without its children's."""
    transient = module.state.get("_non_persistent_buffers_set", ())
    hidden = transient if isinstance(transient, set) else ()
    for kind in ("_parameters", "_buffers"):
        table = module.state.get(kind)
        for name, record in table.items() if isinstance(table, dict) and len(table) <= _MAX_OWN_TENSORS else ():
            if isinstance(record, TensorRecord) and isinstance(name, str) and name not in hidden:
                yield f"{prefix}{name}", record


def _names(value: object) -> tuple[str, ...] | None:
    """Return class names from a list or from {0: name, ...}; None where they are neither."""
    items = [value.get(index) for index in range(len(value))] if isinstance(value, dict) else value
    if not isinstance(items, list | tuple) or not items:
        return None
    names = tuple(item for item in items if isinstance(item, str) and 0 < len(item) <= 200 and item.isprintable())
    return names if len(names) == len(items) else None


def _named(tensors: dict[str, Tensor], path: Path) -> NamedWeights:
    """Check the names, which end up in messages, and drop the ``module.`` of DistributedDataParallel before them."""
    if strange := [name for name in tensors if not _NAME.fullmatch(name)]:
        raise CheckpointError(f"{path}: refused: a tensor is called {strange[0][:50]!r}")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return NamedWeights({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
