"""Official YOLOv7 checkpoints become ours; nothing in the file is executed.

Variant, form and number of classes are recognised from the tensors' shapes alone. What shapes cannot tell is the
activation of tiny and tiny-silu: a pickled model names it, for bare tensors ``variant`` decides (default tiny). This
module does not know how files are read (``weights.py``).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoint.format import Checkpoint, CheckpointError
from training.checkpoint.unfused import is_fused, unfuse
from training.checkpoint.weights import NamedWeights, read_weights
from training.nets import VARIANTS, Network, build_network
from training.nets.variants import Form

ANCHORS_PER_LEVEL = 3
_COUNTER = "num_batches_tracked"  # the only tensor whose absence changes nothing


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import took and what it left, by official name."""

    variant: str
    form: Form
    num_classes: int
    fused: bool  # the file's normalisation was folded into the convolutions already
    taken: int
    missing: tuple[str, ...]  # counters only; anything else that is missing is an error
    unexpected: tuple[str, ...]  # in the file, not in the graph
    skipped: tuple[str, ...]  # in the file and in the graph, replaced by what a fused file implies


def import_official(
    path: Path, *, variant: str | None = None, class_names: tuple[str, ...] | None = None
) -> tuple[Checkpoint, ImportReport]:
    """Read an official checkpoint, a state_dict with official names, or such a safetensors file.

    ``variant`` overrides what is recognised (needed for a bare tiny-silu), ``class_names`` what the file says.
    Raises CheckpointError, also for a graph that is no YOLOv7 variant.
    """
    weights = read_weights(path)
    fused = is_fused(weights.tensors)
    tensors = unfuse(weights.tensors) if fused else weights.tensors
    if damaged := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise CheckpointError(f"{path}: {damaged[0]} holds numbers that are not finite")
    num_classes, form = _classes_and_form(tensors, path)
    try:
        network = recognise(tensors, _candidates(weights, variant), num_classes=num_classes, form=form)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    official = network.official_keys().values()
    report = ImportReport(
        variant=network.variant.name,
        form=form,
        num_classes=num_classes,
        fused=fused,
        taken=sum(key in tensors for key in official),
        missing=tuple(key for key in official if key not in tensors),
        unexpected=tuple(sorted(set(tensors) - set(official))),
        skipped=tuple(key for key in weights.tensors if fused and key.endswith(".implicit")),
    )
    checkpoint = Checkpoint(
        variant=network.variant.name,
        form=form,
        class_names=_class_names(class_names or weights.class_names, num_classes, path),
        state=_state(network, tensors),
        extra={"origin": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}},
    )
    return checkpoint, report


def _state(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put official tensors under our names, in our types; a counter that the file lacks starts at 0."""
    types = {key: tensor.dtype for key, tensor in network.state_dict().items()}
    return {
        ours: tensors[theirs].to(types[ours]) if theirs in tensors else torch.zeros((), dtype=types[ours])
        for ours, theirs in network.official_keys().items()
    }


def _classes_and_form(tensors: Mapping[str, Tensor], path: Path) -> tuple[int, Form]:
    """Read the number of classes off the head's first level; only training heads have implicit vectors."""
    heads = [name for name in tensors if name.endswith(".m.0.weight") and tensors[name].dim() == 4]
    if len(heads) != 1:
        raise CheckpointError(f"{path}: holds no YOLOv7 detection head")
    values, remainder = divmod(tensors[heads[0]].shape[0], ANCHORS_PER_LEVEL)
    if remainder or values < 6:
        raise CheckpointError(f"{path}: its head does not have {ANCHORS_PER_LEVEL} anchors a cell")
    return values - 5, "training" if any(name.endswith(".implicit") for name in tensors) else "deploy"


def _candidates(weights: NamedWeights, variant: str | None) -> list[str]:
    if variant is not None:
        if variant not in VARIANTS:
            raise CheckpointError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
        return [variant]
    silu = "SiLU" in weights.activations and "LeakyReLU" not in weights.activations
    return [name for name in VARIANTS if name != ("tiny" if silu else "tiny-silu")]


def recognise(tensors: Mapping[str, Tensor], candidates: list[str], *, num_classes: int, form: Form) -> Network:
    """Return the first variant whose every tensor is there with the right shape, built without memory (device meta).

    Raises CheckpointError naming the variant that comes closest.
    """
    levels = sum(re.search(r"\.m\.\d+\.weight$", name) is not None for name in tensors)
    closest, fewest = "none", list(tensors)
    for name in candidates:
        if len(candidates) > 1 and len(VARIANTS[name].strides) != levels:
            continue  # half of the family, not built for nothing
        with torch.device("meta"):
            network = build_network(VARIANTS[name], num_classes=num_classes, form=form)
        wrong = _mismatches(network, tensors)
        if not wrong:
            return network
        if len(wrong) < len(fewest) or closest == "none":
            closest, fewest = name, wrong
    raise CheckpointError(
        f"no YOLOv7 variant has these tensors (closest: {closest} in {form} form, {len(fewest)} tensors absent or of "
        f"another shape, first {fewest[0]})"
    )


def _mismatches(network: Network, tensors: Mapping[str, Tensor]) -> list[str]:
    """Official names that the file lacks or has in another shape."""
    shapes = {ours: tensor.shape for ours, tensor in network.state_dict().items()}
    return [
        theirs
        for ours, theirs in network.official_keys().items()
        if (theirs not in tensors and not theirs.endswith(_COUNTER))
        or (theirs in tensors and tensors[theirs].shape != shapes[ours])
    ]


def _class_names(names: tuple[str, ...] | None, count: int, path: Path) -> tuple[str, ...]:
    if names is None:
        return tuple(f"class {index}" for index in range(count))
    if len(names) != count:
        raise CheckpointError(f"{path}: {len(names)} class names for {count} classes")
    return names
