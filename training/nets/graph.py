"""From a variant's table to a Network: the modules are built with fresh weights and run in the order of the rows.

Nothing here knows a variant by name; rows.py has checked that a table fits together.

Letters: B images, C classes, H and W the image's height and width, s a level's stride.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from training.nets import blocks, pyramid, reparam, rows, stages
from training.nets.blocks import Block
from training.nets.head import AnchorTables, DeployHead, TrainingHead, head_convolution
from training.nets.rows import IMAGE, GraphError, Step, interpret
from training.nets.variants import Form, Variant


class Network(nn.Module):
    """A variant's rows and its head. ``forward`` answers raw logits, whatever the module's mode."""

    def __init__(
        self, variant: Variant, form: Form, modules: Mapping[str, Block], head: TrainingHead | DeployHead
    ) -> None:
        super().__init__()
        self.variant = variant
        self.form = form
        self.rows = nn.ModuleDict(modules)
        self.head = head
        self._taps = variant.taps(form)
        self._steps = interpret(variant.form_rows(form), self._taps)

    @property
    def num_classes(self) -> int:
        """C."""
        return self.head.num_classes

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, P3 first."""
        return self.variant.strides

    @property
    def anchors(self) -> Tensor:
        """Width and height in pixels: (levels, 3, 2) float32."""
        return self.head.anchors.pixels.view(len(self.strides), -1, 2)

    def block(self, name: str) -> Block:
        """The module of one row."""
        module = self.rows[name]
        assert isinstance(module, Block)
        return module

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images to raw logits.

        ``images`` is (B, 3, H, W), RGB in 0..1, H and W multiples of the largest stride. The answer is one
        (B, 3, H/s, W/s, 5+C) per level of the lead, P3 first; then, in the training form of a P6 model, one per
        auxiliary level.
        """
        maps = {IMAGE: images}
        for step in self._steps:
            maps[step.row.name] = self.rows[step.row.name](*(maps[source] for source in step.sources))
            for name in step.last_read:
                del maps[name]
        outputs: list[Tensor] = self.head([maps[tap] for tap in self._taps])
        return outputs

    def official_keys(self) -> dict[str, str]:
        """Map every key of ``state_dict`` to its key in the reference's graph of this form, in the reference's order.

        The reference numbers primitive layers: ``model.{entry}.{tensor}``. A fused network's keys are those of the
        reference's fused graph.
        """
        entries = [(f"rows.{name}", entry) for name in self.rows for entry in self.block(name).official]
        state = list(self.state_dict())
        keys: dict[str, str] = {}
        for index, (owner, entry) in enumerate([*entries, ("head", self.head.official)]):
            for ours, official in entry:
                old, new = _path(owner, ours), _path("model", str(index), official)
                keys |= {key: new + key.removeprefix(old) for key in state if key == old or key.startswith(f"{old}.")}
        assert keys.keys() == set(state), "a block does not declare where its tensors belong"
        return keys


def build_network(variant: Variant, *, num_classes: int, form: Form = "training") -> Network:
    """Build one form of a variant with fresh weights. Raises GraphError where its table does not fit together."""
    taps = variant.taps(form)
    steps = interpret(variant.form_rows(form), taps)
    outputs = {step.row.name: step.output for step in steps}
    levels = len(variant.strides)
    strides = tuple(outputs[tap].stride for tap in taps)
    if strides not in (variant.strides, variant.strides * 2):
        raise GraphError(f"the head reads strides {strides}, the variant's are {variant.strides}")
    modules = {step.row.name: _build(step, variant.activation) for step in steps}
    convolutions = [head_convolution(outputs[tap].channels, num_classes, outputs[tap].stride) for tap in taps]
    anchors = AnchorTables(variant.anchors, variant.strides)
    if form == "deploy":
        return Network(variant, form, modules, DeployHead(anchors, convolutions))
    return Network(variant, form, modules, TrainingHead(anchors, convolutions[:levels], convolutions[levels:]))


def _build(step: Step, act: blocks.Activation) -> Block:
    """The module of one row. PyTorch's own initialisation stands, as in the reference."""
    channels = step.inputs[0].channels
    match step.row.block:
        case rows.Conv(out, stride):
            return blocks.spatial(channels, out, act, stride=stride)
        case rows.RepConv(out):
            return reparam.RepConv(channels, out, act)
        case rows.Elan() as elan:
            return stages.Elan(channels, elan, act)
        case rows.Csp() as csp:
            return stages.Csp(channels, csp, act)
        case rows.Sum():
            return blocks.Sum()
        case rows.Concat():
            return blocks.Concat()
        case rows.Pool():
            return blocks.Pool()
        case rows.SpaceToDepth():
            return blocks.SpaceToDepth()
        case rows.PoolDown(hidden):
            return blocks.PoolDown(channels, hidden, act)
        case rows.DownC(out):
            return blocks.DownC(channels, out, act)
        case rows.TopDown(hidden):
            return blocks.TopDown(channels, step.inputs[1].channels, hidden, act)
        case rows.SppCspc(out):
            return pyramid.SppCspc(channels, out, act)
        case rows.TinySpp(out):
            return pyramid.TinySpp(channels, out, act)


def _path(*parts: str) -> str:
    return ".".join(part for part in parts if part)
