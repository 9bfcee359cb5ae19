"""What a person sees of a run: a bar while a step lasts and a line when it is done, on standard error, then a table."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.benchmark.figures import PERCENTILES, Figures
from service.benchmark.k6 import K6
from service.benchmark.load import Load
from service.benchmark.run import Knee, Step


class View:
    """Shows steps on `console` as they run."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def offer(self, k6: K6, load: Load) -> Figures:
        """Runs a step. Raises what K6.run raises."""
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            task = bar.add_task(load.name, total=load.lasts_s)
            figures = k6.run(load, lambda seconds: bar.update(task, completed=min(seconds, load.lasts_s)))
        self._console.print(line(load, figures))
        return figures


def line(load: Load, figures: Figures) -> str:
    """One step."""
    latency = figures.latency_ms
    times = f"p50 {milliseconds(latency, 'p50')}, p99 {milliseconds(latency, 'p99')} ms" if latency else "no answer 200"
    cut = ", cut short" if figures.cut else ""
    return f"{load.name}: {figures.per_second:.1f}/s, {times}, {counts(figures)}{cut}"


def table(steps: Sequence[Step], knee: Knee | None) -> Table:
    """All steps; the one at the knee is marked. `k6` is how many cores the generator kept busy."""
    others = any(set(step.figures.statuses) - {"200"} or step.figures.dropped for step in steps)
    rows = Table(box=box.SIMPLE, pad_edge=False)
    rows.add_column("step", no_wrap=True)
    for name in ("200s/s", *PERCENTILES, "k6"):
        rows.add_column(name, justify="right", no_wrap=True)
    if others:
        rows.add_column("answers")
    for step in steps:
        figures = step.figures
        marks = (" (knee)" if knee and step is knee.step else "") + (" (cut short)" if figures.cut else "")
        rows.add_row(
            step.load.name + marks,
            f"{figures.per_second:.1f}",
            *(milliseconds(figures.latency_ms, name) for name in PERCENTILES),
            f"{figures.cost.cores:.2f}",
            *([counts(figures)] if others else []),
        )
    return rows


def knee_line(knee: Knee) -> str:
    """What was found, in a sentence."""
    slo = f"p99 within {knee.objective.p99_ms:.0f} ms"
    if knee.step is None:
        return f"knee: no rate that was tried held ({slo})"
    load, figures = knee.step.load, knee.step.figures
    found = f"knee: {load.rate:g} requests/s held ({slo}): p50 {milliseconds(figures.latency_ms, 'p50')} ms, "
    found += f"p99 {milliseconds(figures.latency_ms, 'p99')} ms"
    if knee.above is None:
        return f"{found}; it may lie higher: the search ended before a rate broke"
    return f"{found}; at {knee.above.load.rate:g}/s {knee.above.broken_by}"


def milliseconds(latency_ms: Mapping[str, float], name: str) -> str:
    """A percentile; a dash where there is none."""
    if name not in latency_ms:
        return "–"
    value = latency_ms[name]
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def counts(figures: Figures) -> str:
    """How many answers had which status, and what was dropped."""
    told = [f"{count} x {status}" for status, count in figures.statuses.items()]
    if figures.dropped:
        told.append(f"{figures.dropped} dropped")
    return ", ".join(told) or "none"
