"""Line charts as SVG text that takes its colours from the page, so that they are right on light, on dark and on paper.

Small on purpose: linear or logarithmic axes, lines with gaps, a diagonal, marks. It knows nothing of detection.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_WIDTH, _HEIGHT = 460.0, 290.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 10.0, 38.0
COLOURS = 8
"""How many colours the page has, --c0, --c1 ..."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one line; a y of NaN is a gap. colour: which of the page's, None for a faint grey."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int | None = 0
    bold: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart spans; a logarithmic y needs limits above 0."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    log_y: bool = False
    diagonal: bool = False
    bars: Sequence[tuple[float, float, float]] = field(default_factory=tuple)  # from x, to x, height

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the SVG."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        low, high, y = (math.log10(max(v, 1e-12)) if self.log_y else v for v in (*self.y, y))
        up = min(max((y - low) / ((high - low) or 1), 0.0), 1.0)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)


def chart(axes: Axes, lines: Sequence[Line], title: str) -> str:
    """Return a figure: the chart, and a legend where several lines have colours."""
    parts = [_grid(axes), *(_bar(axes, bar) for bar in axes.bars)]
    if axes.diagonal:
        (x1, y1), (x2, y2) = axes.place(axes.x[0], axes.y[0]), axes.place(axes.x[1], axes.y[1])
        parts.append(f'<line class="diagonal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    parts += [_line(axes, line) for line in sorted(lines, key=lambda line: (line.colour is not None, line.bold))]
    svg = f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{html.escape(title)}">'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}{''.join(parts)}</svg>{_legend(lines)}</figure>"


def span(values: Sequence[float]) -> tuple[float, float]:
    """Limits for a logarithmic axis: whole steps of 1, 2, 5 around the values above 0, at most 1e-12 to 1e12."""
    known = [min(max(value, 1e-12), 1e12) for value in values if value > 0] or [0.1, 1.0]
    steps = [mantissa * 10.0**power for power in range(-12, 13) for mantissa in (1, 2, 5)]
    low = max(step for step in steps if step <= min(known))
    return low, min(step for step in steps if step >= max(known) and step > low)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about ``count`` steps."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * place, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    steps = [mantissa * 10.0**power for power in range(-12, 13) for mantissa in (1, 2, 5)]
    inside = [step for step in steps if low * 0.999 <= step <= high * 1.001]
    return inside if len(inside) <= 7 else [step for step in inside if f"{step:e}"[0] == "1"]


def _grid(axes: Axes) -> str:
    parts = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in _log_ticks(*axes.y) if axes.log_y else ticks(*axes.y):
        y = axes.place(axes.x[0], value)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(*axes.x):
        x = axes.place(value, axes.y[0])[0]
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{html.escape(axes.x_label)}</text>')
    place = f"translate(11 {(_TOP + bottom) / 2}) rotate(-90)"
    parts.append(f'<text transform="{place}" text-anchor="middle">{html.escape(axes.y_label)}</text>')
    return "".join(parts)


def _bar(axes: Axes, bar: tuple[float, float, float]) -> str:
    (x1, y1), (x2, y2) = axes.place(bar[0], bar[2]), axes.place(bar[1], axes.y[0])
    return f'<rect class="bar" x="{x1 + 1:.1f}" y="{y1:.1f}" width="{x2 - x1 - 2:.1f}" height="{max(y2 - y1, 0):.1f}"/>'


def _line(axes: Axes, line: Line) -> str:
    points, path = [], ""
    pen = "M"
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isnan(y):
            pen = "M"
            continue
        across, up = axes.place(x, y)
        path += f"{pen}{across:.1f} {up:.1f}"
        points.append((across, up))
        pen = "L"
    colour = "var(--faint)" if line.colour is None else f"var(--c{line.colour % COLOURS})"
    wide = "2.6" if line.bold else "1" if line.colour is None else "1.7"
    title = f"<title>{html.escape(line.name)}</title>"
    drawn = f'<path class="line" style="stroke:{colour};stroke-width:{wide}" d="{path}">{title}</path>'
    if not line.dots and len(points) > 1:
        return drawn
    dots = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{colour}">{title}</circle>' for x, y in points)
    return drawn + "".join(dots)


def _legend(lines: Sequence[Line]) -> str:
    keys = [
        f'<span><i style="background:var(--c{line.colour % COLOURS})"></i>{html.escape(line.name)}</span>'
        for line in lines
        if line.colour is not None
    ]
    return f'<div class="legend">{"".join(keys)}</div>' if len(keys) > 1 else ""
