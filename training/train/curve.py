"""The picture at the end of a run: losses and AP over the epochs."""

from pathlib import Path

from matplotlib.figure import Figure

from training.train.results import read_rows


def draw_curve(folder: Path) -> Path:
    """Draw ``results.csv`` of a run folder as ``curve.png`` beside it and return its path."""
    rows = read_rows(folder / "results.csv")
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    for name in ("box", "objectness", "classification"):
        losses.plot([int(row["epoch"]) for row in rows], [float(row[name]) for row in rows], label=name)
    losses.set(title="weighted training loss per image", xlabel="epoch", yscale="log")
    for name, label in (("ap50", "AP50"), ("ap", "AP")):
        scored = [row for row in rows if row.get(name)]
        precision.plot([int(row["epoch"]) for row in scored], [float(row[name]) for row in scored], label=label)
    precision.set(title="validation, EMA weights, protocol served", xlabel="epoch", ylim=(0, 1))
    for axes in (losses, precision):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "curve.png", dpi=110)
    return folder / "curve.png"
