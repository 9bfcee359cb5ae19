"""Plots of what a real Prometheus answers to the panels' own queries, for the documentation. Grafana has no part in it.

    .venv/bin/python deploy/monitoring/plots.py docs/dashboards --photos FOLDER

Everything runs on this machine (local_stack.py) under load (all_doors.py), in four parts: as usual, three times as
much, as usual while Redis hangs, and as usual again. Photos are JPEGs; those of the model's validation set are best.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from all_doors import AllDoors
from local_prometheus import LocalPrometheus
from local_stack import LocalStack
from matplotlib.axes import Axes
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "grafana"))
from boards import BOARDS
from panel import Dashboard, Panel

MOST_LINES = 9
# What a page of the documentation has room for.
SHOWN = {
    "yolov7-service": (
        "Requests", "By code", "Duration", "Mean of each stage", "Batch size", "Waiting beside inferring", "In flight",
        "Refused", "Look-ups",
    ),
    "yolov7-cameras": (
        "Open", "Frames answered", "From receipt to answer", "gRPC", "WebSocket", "What became of the frames",
    ),
    "yolov7-detections": ("By class", "Mean score", "Mean size", "Another mix of classes", "Scores", "Sizes"),
    "yolov7-triton": ("Requests", "Images in a batch, mean", "Where a request's time goes"),
    "yolov7-redis": ("Commands", "Keys looked up", "Look-ups that went to Redis"),
}  # fmt: skip


async def drive(stack: LocalStack, jpegs: list[bytes], part_s: float) -> list[tuple[float, str]]:
    """The four parts; returns when each began, and what it was."""
    doors = [AllDoors(gateway, jpegs) for gateway in (stack.embedded, stack.remote)]
    clients = [asyncio.create_task(door.run()) for door in doors]
    parts = []
    for name, pace, redis in (
        ("usual", 1, True),
        ("3 × as much", 3, True),
        ("Redis hangs", 1, False),
        ("usual", 1, True),
    ):
        stack.redis.send_signal(signal.SIGCONT if redis else signal.SIGSTOP)
        for door in doors:
            door.pace = pace
        parts.append((time.time(), name))
        await asyncio.sleep(part_s)
    for door in doors:
        door.stop.set()
    await asyncio.gather(*clients)
    return parts


def draw(panel: Panel, axes: Axes, prometheus: LocalPrometheus, parts: list[tuple[float, str]], end: float) -> None:
    """One panel, over the whole time."""
    start = parts[0][0]
    found = []
    for legend, query in panel.queries.items():
        for name in ("$gateway", "$model", "$server"):
            query = query.replace(name, ".*")
        for series in prometheus.query_range(query.replace("$__rate_interval", "10s"), start, end, 1):
            at, values = np.array(series["values"], float).T
            name = series["metric"]["le"] if panel.kind == "heat" else _named(legend, series["metric"])
            found.append((name, at - start, values))
    axes.set_title(f"{panel.title} [{panel.unit}]", fontsize=9)
    if panel.kind == "heat":
        _heat(axes, found, end - start)
    else:
        _lines(axes, found, stacked=panel.kind == "stacked")
    for at, _ in parts[1:]:
        axes.axvline(at - start, color="grey", linewidth=0.6, linestyle=":")
    axes.set_xlim(0, end - start)
    axes.tick_params(labelsize=7)


def page(board: Dashboard, prometheus: LocalPrometheus, parts: list[tuple[float, str]], end: float) -> plt.Figure:
    """A dashboard's panels that are shown, three in a row."""
    # Of two of a title the first, but no single numbers.
    drawn = [panel for row in board.rows.values() for panel in row if panel.kind != "stat"]
    panels = {panel.title: panel for panel in reversed(drawn)}
    chosen = [panels[title] for title in SHOWN[board.uid]]
    rows = -(-len(chosen) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(13, 2.6 * rows + 0.5), squeeze=False, layout="constrained")
    for panel, axes in zip(chosen, grid.flat, strict=False):
        draw(panel, axes, prometheus, parts, end)
    told = ", ".join(f"{name} from {at - parts[0][0]:.0f} s" for at, name in parts)
    figure.suptitle(f"{board.title}: answers of Prometheus to the dashboard's queries, by seconds ({told})", fontsize=9)
    return figure


def main() -> None:
    """Run it all, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--part", type=float, default=45.0, metavar="S", help="how long each part takes (45)")
    arguments = parser.parse_args()
    jpegs = [path.read_bytes() for path in sorted(arguments.photos.glob("*.jpg"))[:40]]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder)) as stack:
        parts = asyncio.run(drive(stack, jpegs, arguments.part))
        end = time.time()
        for board in BOARDS:
            path = arguments.folder / f"{board.uid}.png"
            page(board, stack.prometheus, parts, end).savefig(path, dpi=75)
            # Few colours are enough, and a quarter of the bytes.
            Image.open(path).convert("RGB").quantize(48).save(path, optimize=True)
            print(path, path.stat().st_size)


def _named(legend: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", value)
    return legend


def _lines(axes: Axes, found: list[tuple[str, Any, Any]], *, stacked: bool) -> None:
    found = sorted(found, key=lambda series: -np.nansum(series[2]))[:MOST_LINES]
    if stacked and found:
        times = np.unique(np.concatenate([at for _, at, _ in found]))
        rows = [np.interp(times, at, np.nan_to_num(values), left=0, right=0) for _, at, values in found]
        axes.stackplot(times, rows, labels=[name for name, _, _ in found], alpha=0.7)
    else:
        for name, at, values in found:
            axes.plot(at, values, label=name, linewidth=1)
    axes.set_ylim(bottom=0)
    if found:
        axes.legend(fontsize=5.5, loc="upper left", framealpha=0.6)


def _heat(axes: Axes, found: list[tuple[str, Any, Any]], seconds: float) -> None:
    found = sorted(((float(name or 0), at, values) for name, at, values in found), key=lambda series: series[0])
    table = np.zeros((len(found), int(seconds) + 1))
    for row, (_, at, values) in enumerate(found):
        table[row, np.minimum(at.astype(int), table.shape[1] - 1)] = values
    counts = np.clip(np.diff(table, axis=0, prepend=0), 0, None)
    axes.imshow(
        np.sqrt(counts),
        aspect="auto",
        origin="lower",
        cmap="Oranges",
        interpolation="nearest",
        extent=(0, seconds, -0.5, len(found) - 0.5),
    )
    axes.set_yticks(range(len(found)), [f"{le:g}" for le, _, _ in found])


if __name__ == "__main__":
    main()
