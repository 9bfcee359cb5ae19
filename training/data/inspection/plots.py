"""Plots of a set: how often each class is there, how large objects are, and where they lie."""

import io
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.data.inspection.balance import mean_sides
from training.data.inspection.inspect import Inspection

_CLASSES = 30  # bars that can still be read
_GRID = 64


def draw(inspection: Inspection) -> dict[str, bytes]:
    """Return PNG files by title."""
    return {
        "Objects of each class": _png(lambda axes: _classes(inspection, axes), (7, 3.2)),
        "Sides of boxes": _png(lambda axes: _sides(inspection, axes), (7, 3.2)),
        "Shapes of boxes": _png(lambda axes: _shapes(inspection, axes), (4.2, 3.2)),
        "Where objects lie": _png(lambda axes: _places(inspection, axes), (4.2, 3.2)),
    }


def _classes(inspection: Inspection, axes: Axes) -> None:
    totals = [balance.objects for balance in inspection.balance.values()]
    labels = sorted(
        dict.fromkeys(label for some in totals for label in some), key=lambda k: -sum(t.get(k, 0) for t in totals)
    )[:_CLASSES]
    width = 0.8 / max(len(totals), 1)
    for place, (name, balance) in enumerate(inspection.balance.items()):
        total = max(sum(balance.objects.values()), 1)
        shares = [100 * balance.objects.get(label, 0) / total for label in labels]
        axes.bar(np.arange(len(labels)) + place * width, shares, width, label=name)
    axes.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, labels, rotation=90 if len(labels) > 8 else 0, fontsize=8)
    axes.set_ylabel("% of the part's objects")
    axes.legend()


def _sides(inspection: Inspection, axes: Axes) -> None:
    edges = np.geomspace(1, max(inspection.image_size, 2), 41).tolist()
    for name, objects in inspection.objects.items():
        sides = mean_sides(objects, inspection.image_size)
        if len(sides):
            axes.hist(sides, edges, weights=np.full(len(sides), 100 / len(sides)), histtype="step", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"root of the area, pixels at {inspection.image_size}")
    axes.set_ylabel("% of the part's objects")
    axes.legend()


def _shapes(inspection: Inspection, axes: Axes) -> None:
    for name, objects in inspection.objects.items():
        low, high = objects.boxes_xyxy[:, :2], objects.boxes_xyxy[:, 2:]
        if len(low):
            ratio = np.log2((high - low)[:, 0] / (high - low)[:, 1]).clip(-5, 5)
            share = np.full(len(ratio), 100 / len(ratio))
            axes.hist(ratio, np.linspace(-5, 5, 41).tolist(), weights=share, histtype="step", label=name)
    axes.set_xlabel("log2 of width / height")
    axes.set_ylabel("% of the part's objects")


def _places(inspection: Inspection, axes: Axes) -> None:
    counts = np.zeros((_GRID, _GRID))
    for objects in inspection.objects.values():
        centres = (objects.boxes_xyxy[:, :2] + objects.boxes_xyxy[:, 2:]) / 2 / objects.sizes_wh[objects.image]
        counts += np.histogram2d(centres[:, 1], centres[:, 0], _GRID, ((0, 1), (0, 1)))[0]
    axes.imshow(counts, extent=(0, 1, 1, 0), cmap="magma")
    axes.set_xlabel("centres, all parts, fractions of the image")


def _png(plot: Callable[[Axes], None], inches: tuple[float, float]) -> bytes:
    figure = Figure(inches, layout="constrained", dpi=110)
    plot(figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
