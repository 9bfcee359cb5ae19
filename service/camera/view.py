"""What a person sees of a run: a panel in a terminal, or a line now and then in a log, and a table at the end."""

import asyncio
import logging
import time
from collections import Counter

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from service.camera.ages import Ages, milliseconds
from service.camera.capture import Capture
from service.camera.source import Source
from service.camera.tally import Tally

logger = logging.getLogger(__name__)

REFRESH_S = 0.25
LINE_S = 10.0


class View:
    """Shows a run on `console` until it is cancelled: as a panel if that is a terminal, else as lines in the log."""

    def __init__(self, console: Console, source: Source, tally: Tally, capture: Capture) -> None:
        self._console = console
        self._source = source
        self._tally = tally
        self._capture = capture
        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, auto_refresh=False, expand=True)
        self._task = self._progress.add_task("", total=None)

    async def run(self) -> None:
        """Never ends by itself."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(LINE_S)
                logger.info("%s", line(self._tally, self._capture, time.monotonic()))
        with Live(self.panel(), console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(self.panel(), refresh=True)

    def panel(self) -> Panel:
        """How the run stands."""
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim")
        rows.add_column(overflow="fold")
        for name, text in state(self._tally, self._capture, time.monotonic()):
            rows.add_row(name, text)
        body: Group | Table = rows
        total = self._capture.total
        if total is not None:
            self._progress.update(self._task, total=total, completed=min(self._tally.position, total))
            body = Group(rows, self._progress)
        return Panel(body, title=self._source.name, title_align="left", box=box.ROUNDED)


def state(tally: Tally, capture: Capture, now: float) -> list[tuple[str, str]]:
    """How a run stands, as pairs of a name and a text."""
    return [
        ("source", tally.states["source"]),
        ("service", tally.states["service"]),
        ("model", tally.model or "–"),
        ("frames/s", f"{capture.speed.per_s(now):.1f} read, {tally.speed.per_s(now):.1f} answered"),
        ("age p50 / p95", milliseconds(tally.ages.latest(share) for share in (0.5, 0.95))),
        ("delay p50 / p95", milliseconds(tally.delays.latest(share) for share in (0.5, 0.95))),
        ("dropped", _counts(tally.dropped)),
        ("failed", f"{tally.failed}, lately {tally.last_failure}" if tally.failed else "none"),
        ("reconnects", _counts(tally.lost)),
        ("now", _counts(tally.current)),
    ]


def line(tally: Tally, capture: Capture, now: float) -> str:
    """The same in one line."""
    return "; ".join(f"{name} {text}" for name, text in state(tally, capture, now))


def summary(tally: Tally, capture: Capture, now: float) -> Table:
    """The table at the end. Frames a second are those answered, on the average of the whole run."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    seconds = max(now - tally.began, 1e-9)
    table.add_row("frames read", str(capture.seen))
    table.add_row("answered", f"{tally.answered} ({tally.answered / seconds:.1f} per second)")
    table.add_row("dropped", _counts(tally.dropped))
    table.add_row("failed", str(tally.failed))
    if capture.damaged:
        table.add_row("could not be decoded", f"{capture.damaged} packets of the source")
    table.add_row("reconnects", _counts(tally.lost))
    for name, ages in (("age", tally.ages), ("delay", tally.delays)):
        table.add_row(f"{name} p50 / p95 / p99", _percentiles(ages))
    table.add_row("detections", _counts(tally.detections))
    return table


def _percentiles(ages: Ages) -> str:
    return milliseconds(ages.all(share) for share in (0.5, 0.95, 0.99))


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common() if count) or "none"
