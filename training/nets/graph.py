"""The interpreter: a variant's rows become a Network.

``interpret`` walks a table symbolically and refuses what does not fit, ``build_network`` builds the modules with fresh weights, and Network runs them in order. The interpreter knows no variant by name.

Letters: B images, C classes, H and W the image's height and width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from training.nets.blocks import Block
from training.nets.head import AnchorTables, DeployHead, TrainingHead, head_convolution
from training.nets.rows import Feature, GraphError, Row
from training.nets.variants import Form, Variant

IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Step:
    """One row as it is run: where its inputs come from, and which maps nobody reads after it."""

    name: str
    sources: tuple[str, ...]
    last_read: tuple[str, ...]


class Network(nn.Module):
    """A variant's rows and its head. ``forward`` answers raw logits whatever the module's mode."""

    def __init__(
        self, variant: Variant, form: Form, blocks: Mapping[str, Block], head: TrainingHead | DeployHead
    ) -> None:
        super().__init__()
        self.variant = variant
        self.form = form
        self.rows = nn.ModuleDict(blocks)
        self.head = head
        self._taps = variant.taps(form)
        self._steps = _steps(variant.form_rows(form), self._taps)

    @property
    def num_classes(self) -> int:
        """C."""
        return self.head.num_classes

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level."""
        return self.variant.strides

    @property
    def anchors(self) -> Tensor:
        """(levels, 3, 2) float32 width and height in pixels."""
        return self.head.anchors.pixels.flatten(1).unflatten(1, (-1, 2))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images to raw logits.

        ``images`` is (B, 3, H, W), RGB in 0..1, H and W multiples of the largest stride. The answer is one (B, 3, H/s, W/s, 5+C) per level of the lead, P3 first, then, in the training form of a P6
        model, one per auxiliary level.
        """
        maps = {IMAGE: images}
        for step in self._steps:
            maps[step.name] = self.rows[step.name](*(maps[source] for source in step.sources))
            for name in step.last_read:
                del maps[name]
        outputs: list[Tensor] = self.head([maps[tap] for tap in self._taps])
        return outputs

    def official_keys(self) -> dict[str, str]:
        """Map every key of ``state_dict`` to the reference graph's, ``model.{entry}....``, in the reference's order."""
        entries = [(f"rows.{name}", entry) for name in self.rows for entry in self.block(name).official]
        keys: dict[str, str] = {}
        state = list(self.state_dict())
        for index, (owner, entry) in enumerate([*entries, ("head", self.head.official)]):
            for ours, official in entry:
                old, new = _path(owner, ours), _path("model", str(index), official)
                keys |= {key: new + key.removeprefix(old) for key in state if key.startswith(f"{old}.") or key == old}
        assert keys.keys() == set(state), "a block does not declare where its tensors belong"
        return keys

    def block(self, name: str) -> Block:
        """The module of one row."""
        block = self.rows[name]
        assert isinstance(block, Block)
        return block


def _path(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def interpret(rows: tuple[Row, ...], taps: tuple[str, ...]) -> dict[str, Feature]:
    """Return the feature map of the image and of every row. Raises GraphError naming the row that does not fit."""
    features = {IMAGE: Feature(3, 1)}
    for row, sources in _with_sources(rows):
        if row.name in features:
            raise GraphError(f"row {row.name}: the name is taken")
        if unknown := [source for source in sources if source not in features]:
            raise GraphError(f"row {row.name}: reads {unknown[0]!r}, which no row above is called")
        try:
            features[row.name] = row.block.infer(tuple(features[source] for source in sources))
        except GraphError as exc:
            raise GraphError(f"row {row.name}: {exc}") from exc
    if unknown := [tap for tap in taps if tap not in features]:
        raise GraphError(f"the head reads {unknown[0]!r}, which no row is called")
    if dead := set(features) - {source for _, sources in _with_sources(rows) for source in sources} - set(taps):
        raise GraphError(f"row {min(dead)}: nobody reads it")
    return features


def build_network(variant: Variant, *, num_classes: int, form: Form = "training") -> Network:
    """Build one form of a variant with fresh weights. Raises GraphError if its table does not fit together."""
    rows, taps = variant.form_rows(form), variant.taps(form)
    features = interpret(rows, taps)
    levels = len(variant.strides)
    expected = variant.strides * (len(taps) // levels)
    if tuple(features[tap].stride for tap in taps) != expected:
        raise GraphError(f"the head reads strides {[features[tap].stride for tap in taps]}, not {list(expected)}")
    blocks = {
        row.name: row.block.build(tuple(features[source] for source in sources), variant.activation)
        for row, sources in _with_sources(rows)
    }
    convolutions = [head_convolution(features[tap].channels, num_classes, features[tap].stride) for tap in taps]
    anchors = AnchorTables(variant.anchors, variant.strides)
    if form == "deploy":
        return Network(variant, form, blocks, DeployHead(anchors, convolutions))
    return Network(variant, form, blocks, TrainingHead(anchors, convolutions[:levels], convolutions[levels:]))


def _with_sources(rows: tuple[Row, ...]) -> list[tuple[Row, tuple[str, ...]]]:
    """Every row with what it reads spelled out."""
    above = [IMAGE, *(row.name for row in rows)]
    return [(row, row.sources or (previous,)) for row, previous in zip(rows, above, strict=False)]


def _steps(rows: tuple[Row, ...], taps: tuple[str, ...]) -> tuple[Step, ...]:
    """The rows in order, each with the maps that may be freed after it."""
    last: dict[str, str] = {source: row.name for row, sources in _with_sources(rows) for source in sources}
    return tuple(
        Step(
            row.name,
            sources,
            tuple(name for name in dict.fromkeys(sources) if last[name] == row.name and name not in taps),
        )
        for row, sources in _with_sources(rows)
    )
