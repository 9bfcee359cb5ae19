"""The chart of a run as SVG: latency of the answers against how many there were a second, with the knee marked.

Drawn by hand, so that the service needs no plotting library. Latency is on a logarithmic axis.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.benchmark.run import Knee, Step

_WIDTH, _HEIGHT = 720.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 24.0, 60.0, 52.0
_LINES = {"p50": "#1b7f5c", "p90": "#2f6fb0", "p99": "#c2571a"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.title{font-size:14px}.grid{stroke:#ddd}"
    ".line{fill:none;stroke-width:2}.limit{stroke:#888;stroke-dasharray:4 4}.knee{stroke:#222;stroke-dasharray:2 3}"
)


@dataclass(frozen=True, slots=True)
class Axes:
    """What the chart spans: 0 to `most_per_second`, and `least_ms` to `most_ms`, which are powers of ten."""

    most_per_second: float
    least_ms: float
    most_ms: float

    def x(self, per_second: float) -> float:
        """Where it lies in the SVG."""
        return _LEFT + per_second / self.most_per_second * (_WIDTH - _LEFT - _RIGHT)

    def y(self, ms: float) -> float:
        """Where it lies in the SVG, within the axes."""
        up = math.log10(ms / self.least_ms) / math.log10(self.most_ms / self.least_ms)
        return _HEIGHT - _BOTTOM - min(max(up, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def plot(steps: Sequence[Step], knee: Knee | None, title: str, subtitle: str = "") -> str:
    """The SVG. Of a search, the rates are drawn and not the client that was alone; steps without answers are not."""
    drawn = [step for step in steps if step.figures.latency_ms and not (knee and step.load.rate is None)]
    drawn.sort(key=lambda step: (step.load.rate or 0.0, step.load.clients))
    axes = _axes(drawn, knee)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">',
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        _text(_LEFT, 22, title, css="title"),
        _text(_LEFT, 42, subtitle),
        _grid(axes),
        *(_line(axes, drawn, name) for name in _LINES),
        _legend(),
        _mark(axes, knee) if knee else "",
        "</svg>\n",
    ]
    return "".join(parts)


def _axes(steps: Sequence[Step], knee: Knee | None) -> Axes:
    times = [step.figures.latency_ms[name] for step in steps for name in _LINES]
    times += [knee.objective.p99_ms] if knee else []
    low, high = min(times, default=1.0), max(times, default=10.0)
    least = 10.0 ** math.floor(math.log10(max(low, 1e-3)))
    return Axes(
        most_per_second=1.1 * max((step.figures.per_second for step in steps), default=1.0),
        least_ms=least,
        most_ms=max(10.0 ** math.ceil(math.log10(max(high, 1e-3))), 10 * least),
    )


def _grid(axes: Axes) -> str:
    parts = []
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for ms in _times(axes):
        y = axes.y(ms)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{ms:g}", anchor="end"))
    step = _round_step(axes.most_per_second / 8)
    for index in range(int(axes.most_per_second / step) + 1):
        x = axes.x(index * step)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 18, f"{index * step:g}", anchor="middle"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 12, "answers 200 per second", anchor="middle"))
    turned = f'transform="translate(16 {(_TOP + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">latency, ms</text>')
    return "".join(parts)


def _line(axes: Axes, steps: Sequence[Step], name: str) -> str:
    points = [(axes.x(step.figures.per_second), axes.y(step.figures.latency_ms[name])) for step in steps]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_LINES[name]}"><title>{_tip(step, name)}</title></circle>'
        for step, (x, y) in zip(steps, points, strict=True)
    )
    return f'<polyline class="line" stroke="{_LINES[name]}" points="{path}"/>{dots}'


def _mark(axes: Axes, knee: Knee) -> str:
    y = axes.y(knee.objective.p99_ms)
    limit = f'<line class="limit" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
    limit += _text(_LEFT + 6, y - 5, f"p99 allowed: {knee.objective.p99_ms:.0f} ms")
    if knee.step is None:
        return limit
    x = axes.x(knee.step.figures.per_second)
    line = f'<line class="knee" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"/>'
    return limit + line + _text(x - 6, _TOP + 14, f"knee: {knee.step.load.rate:g}/s", anchor="end")


def _legend() -> str:
    parts = []
    for index, (name, colour) in enumerate(_LINES.items()):
        x = _WIDTH - _RIGHT - 60 * (len(_LINES) - index)
        parts.append(f'<rect x="{x:.0f}" y="{_TOP - 14}" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(x + 20, _TOP - 8, name))
    return "".join(parts)


def _tip(step: Step, name: str) -> str:
    figures = step.figures
    return html.escape(f"{step.load.name}: {figures.per_second:.1f}/s, {name} {figures.latency_ms[name]:.1f} ms")


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"' + (f' class="{css}"' if css else "")
    return f"<text {attributes}>{html.escape(text)}</text>"


def _times(axes: Axes) -> list[float]:
    powers = range(round(math.log10(axes.least_ms)), round(math.log10(axes.most_ms)) + 1)
    return [value for power in powers for factor in (1, 2, 5) if (value := factor * 10.0**power) <= axes.most_ms]


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
