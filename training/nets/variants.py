"""The eight members of the YOLOv7 family, and what the paper says of each.

A variant is a table of rows with its anchors, strides, size and activation. Nothing is built here; graph.py does that.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from training.nets import p5, p6
from training.nets.blocks import Activation, leaky_relu
from training.nets.rows import Row

Form = Literal["training", "deploy"]

Anchors = tuple[tuple[tuple[int, int], ...], ...]  # level by level, (width, height) in pixels


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """Size of the fused graph of ``form``, and AP on COCO val2017 at the variant's image size; None: not printed.

    Of the family as in tables 1, 2 and 9; of ablations as in tables 3 to 8.
    """

    params_m: float | None
    gflops: float | None
    average_precision: float | None
    form: Form = "deploy"


@dataclass(frozen=True, slots=True)
class Variant:
    """One member of the family, or an ablation of one.

    ``lead`` names the rows that the head reads, P3 first. The training form goes on with ``aux_rows``, one per level,
    for the auxiliary head; the deploy form has none. ``image_size`` is the side that the paper trains and tests at.
    """

    name: str
    rows: tuple[Row, ...]
    lead: tuple[str, ...]
    anchors: Anchors
    strides: tuple[int, ...]
    image_size: int
    paper: PaperFigures
    aux_rows: tuple[Row, ...] = ()
    activation: Activation = nn.SiLU

    def form_rows(self, form: Form) -> tuple[Row, ...]:
        """The rows of one form."""
        return self.rows + self.aux_rows if form == "training" else self.rows

    def taps(self, form: Form) -> tuple[str, ...]:
        """What the head of one form reads: the lead's rows, then the auxiliary ones."""
        return self.lead + tuple(row.name for row in self.aux_rows) if form == "training" else self.lead


_LEAD_P5 = ("lead3", "lead4", "lead5")
_LEAD_P6 = ("lead3", "lead4", "lead5", "lead6")
_STRIDES_P5 = (8, 16, 32)
_STRIDES_P6 = (8, 16, 32, 64)

_ANCHORS_TINY: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_ANCHORS_P5: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
_ANCHORS_P6: Anchors = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)

TINY = Variant(
    "tiny", p5.TINY, _LEAD_P5, _ANCHORS_TINY, _STRIDES_P5, 640, PaperFigures(6.2, 13.8, None), activation=leaky_relu
)
TINY_SILU = Variant("tiny-silu", p5.TINY, _LEAD_P5, _ANCHORS_TINY, _STRIDES_P5, 640, PaperFigures(6.2, 13.8, 38.7))
V7 = Variant("v7", p5.V7, _LEAD_P5, _ANCHORS_P5, _STRIDES_P5, 640, PaperFigures(36.9, 104.7, 51.2))
X = Variant("x", p5.X, _LEAD_P5, _ANCHORS_P5, _STRIDES_P5, 640, PaperFigures(71.3, 189.9, 52.9))
W6 = Variant("w6", p6.W6, _LEAD_P6, _ANCHORS_P6, _STRIDES_P6, 1280, PaperFigures(70.4, 360.0, 54.6), p6.W6_AUX)
E6 = Variant("e6", p6.E6, _LEAD_P6, _ANCHORS_P6, _STRIDES_P6, 1280, PaperFigures(97.2, 515.2, 55.9), p6.E6_AUX)
# The paper's row for D6 is that of the training graph; its deploy graph has 133.8M parameters.
D6 = Variant(
    "d6", p6.D6, _LEAD_P6, _ANCHORS_P6, _STRIDES_P6, 1280, PaperFigures(154.7, 806.8, 56.3, "training"), p6.D6_AUX
)
E6E = Variant("e6e", p6.E6E, _LEAD_P6, _ANCHORS_P6, _STRIDES_P6, 1280, PaperFigures(151.7, 843.2, 56.8), p6.E6E_AUX)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (TINY, TINY_SILU, V7, X, W6, E6, D6, E6E)}
