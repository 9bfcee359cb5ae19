"""results.csv of a run folder: a line an epoch. Columns that an older line lacks are empty."""

import csv
from pathlib import Path

COLUMNS = (
    "epoch",
    "seconds",
    "box",
    "objectness",
    "classification",
    "ap",
    "ap50",
    "ap75",
    "learning_rate",
    "gradient_norm",
    "gradient_norm_max",
    "images_per_second",
    "waiting",
)


def append_row(path: Path, row: dict[str, str]) -> None:
    """Add a line; a file of other columns, from an older version, is written anew with these."""
    rows = [line for line in read_rows(path) if int(line["epoch"]) < int(row["epoch"])] if path.exists() else []
    temporary = path.with_suffix(".csv.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*rows, row])
    temporary.replace(path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the lines, by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
