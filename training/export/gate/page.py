"""What the gate found, as a table, as a part of the model card, and as a plot of AP against latency."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from training.evaluate import Evaluation
from training.export.gate.trial import Trial
from training.export.gate.verdict import points_lost, worst_class

PLOT = "engines.svg"
HEADS = (
    *("engine", "AP", "against", "worst class", "boxes agree", "boxes, px (most)", "scores (most)"),
    *("batches", "shapes", "alone", "8 at once"),
)


def rows(trials: Sequence[Trial], parent: Evaluation, parent_name: str) -> list[tuple[str, ...]]:
    """Return a row for the parent and each engine, as text."""
    table: list[tuple[str, ...]] = [(parent_name, f"{100 * parent.ap:.2f}", *[""] * (len(HEADS) - 2))]
    for trial in trials:
        name, lost = worst_class(parent, trial.evaluation)
        table.append(
            (
                label(trial),
                f"{100 * trial.evaluation.ap:.2f}",
                _change(-points_lost(parent.ap, trial.evaluation.ap)),
                f"{name} {_change(-lost)}",
                _share(trial.alike.share),
                _apart(trial.alike.boxes_px),
                _apart(trial.alike.scores),
                f"{_share(trial.together)}, up to {trial.largest_batch or '?'}",
                _share(min((share for share in trial.shapes.values() if share == share), default=float("nan"))),
                *(f"{trial.latency_ms[name]:.1f} ms" if name in trial.latency_ms else "" for name in ("1", "8")),
            )
        )
    return table


def label(trial: Trial) -> str:
    """What an engine is called: its file, what it computed in, and where, if that was elsewhere."""
    return f"{trial.file} in {trial.precision}" + (f" at {trial.url}" if trial.url else "")


def render(table: Sequence[Sequence[str]], trials: Sequence[Trial], *, data: str, command: str) -> str:
    """Return the part of the model card, Markdown."""
    lines = [HEADS, ["---"] * len(HEADS), *table]
    where = "; ".join(dict.fromkeys(f"{trial.engine} on {trial.device}" for trial in trials))
    words = (
        f"Each through a running service, on {data}: AP in points by the protocol served, and against the first "
        "row; boxes that score 0.25 or more and that both have, and how far those lie apart, on average (and at most); "
        "boxes of a picture in a batch (of up to so many) and alone; the input shape that agrees least with ONNX "
        "Runtime; time from request to answer of one picture alone, and until eight that came at once were answered. "
        f"What has no times was tried in ONNX Runtime, outside the service. {where}. Made by `{command}`."
    )
    return "\n\n".join(
        [
            "## Engines",
            words,
            "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines),
            f"![AP against latency]({PLOT})",
        ]
    )


def plot(trials: Sequence[Trial], parent: Evaluation, parent_name: str) -> str:
    """Return AP against latency as SVG: a point an engine, the parent's AP as a line."""
    figure = Figure((6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100 * parent.ap, linestyle="--", linewidth=1, color="0.5", label=parent_name)
    for trial in (trial for trial in trials if "1" in trial.latency_ms):
        axes.plot(trial.latency_ms["1"], 100 * trial.evaluation.ap, "o", label=label(trial))
    axes.set_xlabel("one picture, from request to answer, ms")
    axes.set_ylabel("AP, points")
    axes.set_xlim(left=0)
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _change(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"  # no minus before a zero


def _apart(mean_and_most: tuple[float, float]) -> str:
    mean, most = mean_and_most
    return "" if mean != mean else f"{mean:.2g} ({most:.2g})"


def _share(share: float) -> str:
    return "no box" if share != share else f"{share:.1%}"
