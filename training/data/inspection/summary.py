"""The check's findings and counts as tables on a terminal."""

from rich.console import Console
from rich.table import Table

from training.data.inspection.balance import PERCENTILES
from training.data.inspection.finding import KINDS
from training.data.inspection.inspect import Inspection

_CLASSES = 40  # lines on the terminal
_COLOURS = {"error": "red", "warning": "yellow", "note": "default"}


def print_summary(inspection: Inspection, console: Console) -> None:
    """Print how the parts are made up, how often each class is there, and what was found."""
    console.print(_parts(inspection))
    console.print(_classes(inspection))
    if inspection.findings:
        console.print(_findings(inspection))


def _parts(inspection: Inspection) -> Table:
    percentiles = [f"{p} %" for p in PERCENTILES]
    title = f"parts; sides of boxes in pixels (root of the area) at {inspection.image_size}"
    table = Table(title=title)
    for head in ("part", "images", "empty", "objects", "crowds", *percentiles, "under 8 px"):
        table.add_column(head, no_wrap=True)
    for name, balance in inspection.balance.items():
        numbers = balance.images, balance.empty, sum(balance.objects.values()), balance.crowds
        sides = [f"{side:.0f}" for side in balance.sides_px] or [""] * len(PERCENTILES)
        table.add_row(name, *(f"{number:,}" for number in numbers), *sides, f"{100 * balance.under_8:.1f} %")
    return table


def _classes(inspection: Inspection) -> Table:
    table = Table("class", *(f"{name}: objects (images)" for name in inspection.balance), title="classes")
    labels = list(dict.fromkeys(label for balance in inspection.balance.values() for label in balance.objects))
    for label in labels[:_CLASSES]:
        row = []
        for balance in inspection.balance.values():
            number, total = balance.objects.get(label, 0), sum(balance.objects.values())
            row.append(f"{number:,} ({balance.images_with.get(label, 0):,})  {100 * number / max(total, 1):.1f} %")
        table.add_row(label, *row)
    if len(labels) > _CLASSES:
        table.add_row(f"and {len(labels) - _CLASSES} more")
    return table


def _findings(inspection: Inspection) -> Table:
    table = Table("", "kind", *inspection.balance, "the first", "consequence", title="findings")
    first = {finding.kind: finding for finding in reversed(inspection.findings)}
    for kind, per_part in inspection.counts().items():
        severity, example = KINDS[kind].severity, first[kind]
        numbers = [f"{per_part[name]:,}" if per_part[name] else "" for name in inspection.balance]
        where = f"{example.image.name}: {example.text}" if example.image else example.text
        table.add_row(str(severity), kind, *numbers, where, KINDS[kind].consequence, style=_COLOURS[severity])
    return table
