"""From the trained network to the served one: training's parts dropped, structure folded, and the graph engines run.

``convert`` drops what only training needs, ``fuse`` folds normalisation and branches, ``to_deploy`` does both, and
DeployModel is the contract between training and serving. No input is ever changed. Files and their checks belong to
training.export.

Letters: B images, H and W their height and width, C classes, N predictions, K candidates.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.nets.graph import Network
from training.nets.head import TrainingHead, cell_table, decode_boxes, flatten_levels
from training.nets.reparam import fuse_block

MAX_CANDIDATES = 3840  # TensorRT's TopK answers no more


def convert(network: Network) -> Network:
    """Return the deploy form of the same function: implicit vectors folded, auxiliary rows gone, the rest as it was."""
    head = network.head.folded() if isinstance(network.head, TrainingHead) else copy.deepcopy(network.head)
    modules = {row.name: copy.deepcopy(network.block(row.name)) for row in network.variant.form_rows("deploy")}
    return Network(network.variant, "deploy", modules, head).train(network.training)


def fuse(network: Network) -> Network:
    """Return the same form with batch normalisation and RepConv folded into convolutions: for inference only."""
    modules = {row.name: fuse_block(network.block(row.name)) for row in network.variant.form_rows(network.form)}
    return Network(network.variant, network.form, modules, copy.deepcopy(network.head)).eval()


def to_deploy(network: Network) -> Network:
    """Return the deploy form, fused: what is exported and served."""
    return fuse(convert(network))


class DeployModel(nn.Module):
    """The served graph: letterboxed bytes in, the K best pairs of prediction and class out.

    It holds operations that ONNX Runtime, OpenVINO and TensorRT have alike. Suppression and thresholds belong to a
    request, not to the graph. Raises ValueError for a K that TensorRT would refuse.
    """

    def __init__(self, network: Network, max_candidates: int = 1000) -> None:
        super().__init__()
        if not 1 <= max_candidates <= MAX_CANDIDATES:
            raise ValueError(f"max_candidates must lie in 1..{MAX_CANDIDATES}, not {max_candidates}")
        self.network = to_deploy(network)
        self.max_candidates = max_candidates

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images to candidates, best first.

        ``images`` is uint8 (B, H, W, 3), RGB; H and W are multiples of the largest stride, and large enough for
        N >= K. Returns boxes float32 (B, K, 4) xyxy in pixels of the input, scores float32 (B, K), classes int32
        (B, K), and predictions int32 (B, K), the row of ``decode`` that a candidate came from. A score is
        objectness x class probability; with one class, objectness alone.
        """
        raws = self.network(images.permute(0, 3, 1, 2).float() / 255)
        logits = flatten_levels(raws)  # (B, N, 5+C)
        cells = cell_table(raws, self.network.anchors, self.network.strides)
        if self.network.num_classes == 1:
            scores, predictions = logits[..., 4].sigmoid().topk(self.max_candidates)
            classes = torch.zeros_like(predictions)
            boxes = decode_boxes(_rows(logits, predictions)[..., :4], embedding(predictions, cells))  # a plain Gather
        else:
            boxes, scores, classes, predictions = self._best_pairs(logits, cells)
        half = boxes[..., 2:] / 2
        corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)
        return corners, scores, classes.int(), predictions.int()

    def _best_pairs(self, logits: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The K best pairs, exactly: they lie within the K predictions whose best class scores highest.

        The pairs of the other predictions are never formed: K·C products instead of N·C.
        """
        best = logits[..., 4].sigmoid() * logits[..., 5:].amax(-1).sigmoid()  # (B, N)
        predictions = best.topk(self.max_candidates).indices  # (B, K)
        rows = _rows(logits, predictions)  # (B, K, 5+C)
        pairs = rows[..., 4:5].sigmoid() * rows[..., 5:].sigmoid()  # (B, K, C)
        scores, pair = pairs.flatten(1).topk(self.max_candidates)
        row = pair // self.network.num_classes
        boxes = decode_boxes(rows[..., :4], embedding(predictions, cells))  # (B, K, 4)
        return _rows(boxes, row), scores, pair - row * self.network.num_classes, predictions.gather(1, row)


def _rows(table: Tensor, indices: Tensor) -> Tensor:
    """Rows (B, K) of a table (B, N, D), gathered whole: OpenVINO's GatherElements wants equal sizes off the axis."""
    return table.gather(1, indices[..., None].expand(-1, -1, table.shape[-1]))
