"""The charts of a report: precision, recall and F1, calibration, and how training went."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.evaluate.calibration import FLOOR
from training.evaluate.curves import RECALLS, Curves
from training.evaluate.examine import Examination
from training.evaluate.report.charts import COLOURS, Axes, Line, chart, span
from training.evaluate.report.subject import Rows

_EVERY = 5  # of the 1,001 confidences
_UNIT = (0.0, 1.0)


def curves(examination: Examination) -> str:
    """Precision over recall, and all three over the confidence."""
    names, found = examination.dataset.class_names, examination.curves
    confidences = found.confidences[::_EVERY].tolist()
    charts = [
        chart(
            Axes(_UNIT, _UNIT, "recall", "precision"),
            _lines(names, RECALLS.tolist(), found.interpolated),
            "Precision and recall at IoU 0.5",
        )
    ]
    for name, table in (("F1", found.f1), ("Precision", found.precision), ("Recall", found.recall)):
        axes = Axes(_UNIT, _UNIT, "confidence", name)
        charts.append(chart(axes, _lines(names, confidences, table[:, ::_EVERY]), f"{name} over confidence"))
    return f'<div class="charts">{"".join(charts)}</div>'


def _lines(names: tuple[str, ...], xs: list[float], table: NDArray[np.float64]) -> list[Line]:
    """A line a class and their mean; of many classes only the mean has a colour."""
    many = len(names) >= COLOURS
    known = np.flatnonzero(~np.isnan(table).all(axis=1)).tolist()
    lines = [Line(names[index], xs, table[index].tolist(), None if many else index + 1) for index in known]
    if len(known) > 1:
        there = ~np.isnan(table[known])
        mean = np.where(there.any(axis=0), np.nansum(table[known], axis=0) / np.maximum(there.sum(axis=0), 1), np.nan)
        lines.insert(0, Line("mean of classes", xs, mean.tolist(), 0, bold=True))
    return lines


def calibration(examination: Examination) -> str:
    """Precision over score, and how many detections have which score."""
    found = examination.calibration
    edges = [bin_ / len(found.counts) for bin_ in range(len(found.counts) + 1)]
    pairs = list(pairwise(edges))
    bars = [
        (low, high, value) for (low, high), value in zip(pairs, found.precision.tolist(), strict=True) if value == value
    ]
    line = Line("share that is right", found.confidence.tolist(), found.precision.tolist(), 0, dots=True)
    axes = Axes(_UNIT, _UNIT, "score", "share that is right", diagonal=True, bars=bars)
    counts = [(low, high, float(n)) for (low, high), n in zip(pairs, found.counts.tolist(), strict=True) if n]
    limits = 0.8, span([float(n) for n in found.counts.tolist()])[1]
    many = Axes(_UNIT, limits, "score", "detections", log_y=True, bars=counts)
    charts = [chart(axes, [line], "Reliability"), chart(many, [], f"Detections by score, above {FLOOR}")]
    return f'<div class="charts">{"".join(charts)}</div>'


def common_confidence(found: Curves) -> str:
    """The best common confidence, in words."""
    common = found.best_common_confidence()
    return "" if math.isnan(common) else f"One confidence for all classes is best at {common:.3f}."


def training(history: Rows) -> str:
    """Losses, AP, learning rate, gradients and speed over the epochs; a chart for what the file has."""
    charts = [
        _history(
            history,
            {"box": "box", "objectness": "objectness", "classification": "classification"},
            "Training loss, weighted, per image",
            log=True,
        ),
        _history(history, {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}, "Validation, averaged weights"),
        _history(history, {"learning_rate": "learning rate"}, "Learning rate"),
        _history(history, {"gradient_norm": "mean", "gradient_norm_max": "largest"}, "Norm of the gradients", log=True),
        _history(history, {"images_per_second": "images a second"}, "Speed"),
    ]
    return f'<div class="charts">{"".join(charts)}</div>'


def _history(history: Rows, columns: dict[str, str], title: str, *, log: bool = False) -> str:
    lines = []
    for colour, (column, name) in enumerate(columns.items()):
        rows = [(float(row["epoch"]), float(row[column])) for row in history if row.get(column)]
        if rows:
            xs, ys = zip(*rows, strict=True)
            lines.append(Line(name, xs, ys, colour, dots=len(rows) <= 12))
    if not lines:
        return ""
    values = [y for line in lines for y in line.ys if math.isfinite(y)]
    limits = span(values) if log else (0.0, _above(max(values, default=1.0)))
    epochs = [float(row["epoch"]) for row in history]
    axes = Axes((min(epochs), max(*epochs, min(epochs) + 1)), limits, "epoch", "", log_y=log)
    return chart(axes, lines, title)


def _above(value: float) -> float:
    """A limit a little above the highest value; 1 for fractions that come near it."""
    return 1.0 if 0.93 < value <= 1 else 1.08 * value or 1.0
