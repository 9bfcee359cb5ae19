"""Starting from the weights of another run or of an official file, and leaving parts of them as they are.

What fits is taken: tensors of the same name and shape. A head for other classes does not fit and keeps its fresh start,
which is said. Anchors are the new run's own.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from training.checkpoint import Checkpoint, CheckpointError, import_official
from training.config import ConfigError
from training.nets import Network

_log = logging.getLogger(__name__)

_NAMED = 12
_DEPLOY_HEAD = re.compile(r"head\.lead\.(\d+)\.(weight|bias)")


def read_source(path: Path) -> Checkpoint:
    """Read a checkpoint of this trainer, or an official file. Raises CheckpointError."""
    try:
        return Checkpoint.load(path)
    except CheckpointError as not_ours:
        try:
            return import_official(path)[0]
        except CheckpointError as not_official:
            raise CheckpointError(f"{not_ours}; nor an official file ({not_official})") from not_official


def transfer(network: Network, source: Checkpoint) -> list[str]:
    """Take what fits of ``source``; return which of the network's tensors keep their fresh start.

    Raises CheckpointError where no weight fits.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("head.anchors.")}
    given = {_training_name(name): value for name, value in source.weights.items()}
    taken = {name: given[name] for name, value in own.items() if name in given and given[name].shape == value.shape}
    if not any(value.dim() == 4 for value in taken.values()):
        raise CheckpointError(f"weights of {source.variant} do not fit {network.variant.name}: no convolution is alike")
    network.load_state_dict(taken, strict=False)
    fresh = [name for name in own if name not in taken]
    _log.info("taken from the weights: %d of %d tensors", len(taken), len(own))
    if fresh:
        _log.warning("start fresh (%d): %s", len(fresh), "; ".join(_reasons(fresh, own, given)))
    return fresh


def freeze(network: Network, *, entries: int, names: Sequence[str]) -> list[str]:
    """Keep from learning: the reference's first ``entries`` graph entries, and parameters that a pattern matches.

    Returns their names. Raises ConfigError for a pattern that matches nothing, or where nothing is left to learn.
    """
    official = network.official_keys()
    frozen = []
    for name, parameter in network.named_parameters():
        if _entry(official[name]) < entries or any(fnmatchcase(name, pattern) for pattern in names):
            parameter.requires_grad = False
            frozen.append(name)
    every = [name for name, _ in network.named_parameters()]
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise ConfigError(f"freeze_names: no parameter is called {pattern!r}; an example of a name: {every[0]}")
    if len(frozen) == len(every):
        raise ConfigError("freeze leaves nothing to learn")
    return frozen


def rest_frozen_norms(network: nn.Module) -> None:
    """Put frozen batch normalisations into evaluation mode: their statistics stay too. Call after ``train()``."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and not module.weight.requires_grad:
            module.eval()


def _entry(official: str) -> int:
    return int(official.split(".")[1])  # model.{entry}.…


def _training_name(name: str) -> str:
    """A deploy head's plain convolution is what the training head wraps in implicit vectors."""
    return _DEPLOY_HEAD.sub(r"head.lead.\1.conv.\2", name)


def _reasons(fresh: Iterable[str], own: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    def compared(name: str) -> str:
        if name not in given:
            return "not there"
        there, here = ("x".join(map(str, value.shape)) for value in (given[name], own[name]))
        return f"{there} there, {here} here"

    found = [f"{name} ({compared(name)})" for name in fresh]
    return found if len(found) <= _NAMED else [*found[:_NAMED], "..."]
