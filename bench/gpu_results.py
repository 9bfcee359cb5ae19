"""The figures of bench/gpu.py: kept in a file from block to block, and shown as a table.

A row is known by its case, so a second call goes on where the first one stopped. A file belongs to one card.
"""

import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gpu_cases import INCLUDES, Case, Scope
from published import paper_fps
from roofline import Roof, bound, layers_of

from training.nets import VARIANTS

_HEADS = (
    *("variant", "H×W", "batch", "precision", "runner", "ms a batch", "alone ms", "images/s"),
    *("paper's V100", "times the paper", "of the roofline", "layer by layer", "score error"),
)
_TITLES: dict[Scope, str] = {"engine": "Engine only", "pictures": "End to end"}


@dataclass(slots=True)
class Results:
    """Rows by key. card: what measured them, by ``gpu_card.identity``."""

    path: Path
    card: dict[str, str]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What was measured."""
        document = json.loads(path.read_text())
        return cls(path, document["card"], document["rows"])

    @classmethod
    def go_on(cls, path: Path, card: dict[str, str]) -> Self:
        """What was measured on ``card``, if there is any. Ends the program where it was another card."""
        if not path.is_file():
            return cls(path, card)
        before = cls.load(path)
        if before.card["name"] != card["name"]:
            sys.exit(f"{path} holds figures of {before.card['name']}, this is {card['name']}")
        return cls(path, card, before.rows)

    def has(self, case: Case) -> bool:
        """Whether it was measured, or found too large; what failed otherwise is tried again."""
        row = self.rows.get(case.key, {})
        return "ms" in row or row.get("error") == "out of memory"

    def save(self) -> None:
        """Whole or not at all: a call may be ended at any moment."""
        document = {"command": sys.argv, "card": self.card, "includes": INCLUDES, "rows": self.rows}
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(document, indent=2) + "\n")
        part.replace(self.path)


def row_of(case: Case, rounds_ms: list[float], lone_ms: list[float], roof: Roof | None) -> dict[str, Any]:
    """The figures of a case: medians, and what follows from them. Milliseconds are a batch's.

    Beside the paper at batch 1 stands what one image alone takes, from call to result.
    """
    ms, alone = statistics.median(rounds_ms), statistics.median(lone_ms)
    row: dict[str, Any] = {
        **_named(case),
        "ms": ms,
        "rounds_ms": rounds_ms,
        "lone_ms": alone,
        "images_per_second": 1e3 * case.batch / ms,
    }
    paper = paper_fps(case.variant, case.shape_hw, case.batch)
    if paper and case.scope == "engine":
        row["paper_fps"] = paper
        row["times_the_paper"] = 1e3 * case.batch / (alone if case.batch == 1 else ms) / paper
    if roof and case.scope == "engine":
        least = bound(layers_of(VARIANTS[case.variant], case.shape_hw), roof, case.batch)
        row["of_the_roofline"] = 1e3 * least.whole_s / ms
        row["of_the_layers"] = 1e3 * least.layered_s / ms
    return row


def failed_row(case: Case, error: str) -> dict[str, Any]:
    """A case that could not be measured, and why."""
    return {**_named(case), "error": error}


def _named(case: Case) -> dict[str, Any]:
    return {
        "variant": case.variant,
        "shape": case.shape,
        "batch": case.batch,
        "precision": case.precision,
        "runner": case.runner,
        "scope": case.scope,
        "includes": INCLUDES[case.scope],
    }


def as_markdown(results: Results) -> str:
    """One table for each scope, headed by what its rows include; what failed stands below."""
    parts = [", ".join(f"{name} {value}" for name, value in results.card.items())]
    for scope, title in _TITLES.items():
        rows = [row for row in results.rows.values() if row["scope"] == scope]
        if measured := [row for row in rows if "ms" in row]:
            parts.append(f"\n**{title}**: {INCLUDES[scope]}\n")
            parts.append(f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}")
            parts += [f"| {' | '.join(_cells(row))} |" for row in sorted(measured, key=_order)]
    failed = [f"- {key}: {row['error']}" for key, row in results.rows.items() if "error" in row]
    return "\n".join([*parts, *(["\n**Not measured**\n", *failed] if failed else [])])


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["batch"] > 1, list(VARIANTS).index(row["variant"]), row["batch"], row["shape"], row["precision"]


def _cells(row: dict[str, Any]) -> list[str]:
    texts = [str(row[name]) for name in ("variant", "shape", "batch", "precision", "runner")]
    texts += [f"{row['ms']:.3f}", f"{row['lone_ms']:.3f}", f"{row['images_per_second']:.0f}"]
    for name, form in (
        ("paper_fps", "{:.0f}"),
        ("times_the_paper", "{:.1f}×"),
        ("of_the_roofline", "{:.0%}"),
        ("of_the_layers", "{:.0%}"),
        ("score_error", "{:.1e}"),
    ):
        texts.append(form.format(row[name]) if name in row else "")
    return texts
