"""From the trained network to the served one: training parts dropped, structure folded, and the graph that an engine runs.

``convert`` drops what only training needs, ``fuse`` folds normalisation and branches, ``to_deploy`` does both; DeployModel wraps a network into the contract between training and serving. The input
network is never changed. ONNX files and their checks are made in training.export.

Letters: B images, H and W height and width, A anchors, C classes, N predictions, K candidates.
"""

import copy

import torch
from torch import Tensor, nn

from training.nets.graph import Network
from training.nets.head import TrainingHead, cells, decode_boxes, flatten_levels
from training.nets.reparam import fuse_block

MAX_CANDIDATES = 3840  # TensorRT's TopK answers no more


def convert(network: Network) -> Network:
    """Return the deploy form with the same answers: implicit vectors folded, auxiliary rows gone, the rest as it was."""
    head = network.head.folded() if isinstance(network.head, TrainingHead) else copy.deepcopy(network.head)
    blocks = {row.name: copy.deepcopy(network.block(row.name)) for row in network.variant.form_rows("deploy")}
    return Network(network.variant, "deploy", blocks, head).train(network.training)


def fuse(network: Network) -> Network:
    """Return the same form with every batch normalisation and RepConv folded into one convolution. For inference only."""
    blocks = {row.name: fuse_block(network.block(row.name)) for row in network.variant.form_rows(network.form)}
    return Network(network.variant, network.form, blocks, copy.deepcopy(network.head)).eval()


def to_deploy(network: Network) -> Network:
    """Return the deploy form, fused: what is exported and served."""
    return fuse(convert(network))


class DeployModel(nn.Module):
    """The served graph: letterboxed bytes in, the K best (prediction, class) pairs out.

    Only operations that ONNX Runtime, OpenVINO and TensorRT have alike. No suppression and no threshold: those belong to a request.
    """

    def __init__(self, network: Network, max_candidates: int = 1000) -> None:
        super().__init__()
        if not 1 <= max_candidates <= MAX_CANDIDATES:
            raise ValueError(f"max_candidates must lie in 1..{MAX_CANDIDATES}, not {max_candidates}")
        self.network = to_deploy(network)
        self.max_candidates = max_candidates

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images to candidates, best first.

        ``images`` is uint8 (B, H, W, 3), RGB, H and W multiples of the largest stride and large enough for N >= K. Returns boxes float32 (B, K, 4) xyxy in image pixels; scores float32 (B, K),
        objectness x class probability (one class: objectness); classes int32 (B, K); predictions int32 (B, K), the row of ``decode`` that a candidate came from.
        """
        raws = self.network(images.permute(0, 3, 1, 2).float() / 255)
        logits = flatten_levels(raws)  # (B, N, 5+C)
        # The K best pairs lie within the K predictions of the best class scores, so the pairs of the others are never formed.
        objectness = logits[..., 4].sigmoid()
        several = self.network.num_classes > 1
        best = objectness * logits[..., 5:].amax(-1).sigmoid() if several else objectness
        scores, rows = best.topk(self.max_candidates)  # (B, K)
        chosen = _rows(logits, rows)  # (B, K, 5+C)
        boxes = decode_boxes(chosen[..., :4], cells(raws, self.network.anchors, self.network.strides)[rows])
        classes = torch.zeros_like(rows)
        if several:
            pairs = chosen[..., 4:5].sigmoid() * chosen[..., 5:].sigmoid()  # (B, K, C)
            scores, flat = pairs.flatten(1).topk(self.max_candidates)
            order = flat // self.network.num_classes
            classes = flat - order * self.network.num_classes
            rows, boxes = rows.gather(1, order), _rows(boxes, order)
        half = boxes[..., 2:] / 2
        corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)
        return corners, scores, classes.int(), rows.int()


def _rows(table: Tensor, indices: Tensor) -> Tensor:
    """Whole rows of (B, N, D) by (B, K) indices, in the only form that OpenVINO's GatherElements takes: equal sizes off the axis."""
    return table.gather(1, indices[..., None].expand(-1, -1, table.shape[-1]))
