"""The model card: what a published model is, where it comes from, what it can and cannot do.

A card is rendered from facts that are given; it knows neither checkpoints nor files. Missing facts are said to be
missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNKNOWN = "not recorded"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What only the person who trained the model knows. Empty = not recorded."""

    description: str = ""  # one sentence: what it detects and for whom
    data: str = ""  # the set, its version and its split
    data_licence: str = ""
    credit: str = ""  # the line that the data's licence asks for
    weights_licence: str = ""
    commit: str = ""  # of the trainer
    hours: float | None = None  # of training
    hardware: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    average_precision: Mapping[str, float] = field(default_factory=dict)  # 0..1, by name: AP, AP50, AP Car
    protocol: str = ""  # how it was measured
    limits: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CardModel:
    """What the export itself knows."""

    name: str
    version: str
    variant: str
    class_names: tuple[str, ...]
    input_shapes: tuple[tuple[int, int], ...]
    max_candidates: int
    sha256: str
    size: int
    checks: tuple[str, ...]  # sentences


def render_card(model: CardModel, facts: CardFacts) -> str:
    """Return the card as Markdown."""
    shapes = ", ".join(f"{height}×{width}" for height, width in model.input_shapes)
    sections = [
        f"# {model.name}, version {model.version}",
        facts.description or f"YOLOv7 ({model.variant}) detecting {', '.join(model.class_names)}.",
        _table(
            ("", ""),
            [
                ("variant", model.variant),
                ("classes", ", ".join(model.class_names)),
                ("input shapes (height×width)", shapes),
                ("candidates an image", str(model.max_candidates)),
                ("stored weights", f"FP16 kernels, {model.size / 1e6:.1f} MB, sha256 `{model.sha256}`"),
                ("licence of the weights", facts.weights_licence or UNKNOWN),
            ],
        ),
        "## Training",
        _table(
            ("", ""),
            [
                ("data", facts.data or UNKNOWN),
                ("licence of the data", facts.data_licence or UNKNOWN),
                ("credit", facts.credit or UNKNOWN),
                ("trainer's commit", f"`{facts.commit}`" if facts.commit else UNKNOWN),
                ("duration", f"{facts.hours:.1f} h" if facts.hours is not None else UNKNOWN),
                ("hardware", facts.hardware or UNKNOWN),
                *((key, str(value)) for key, value in facts.settings.items()),
            ],
        ),
        "## Accuracy",
        _accuracy(facts),
        "## Checks at export",
        "\n".join(f"- {check}" for check in model.checks),
        "## Limits",
        "\n".join(f"- {limit}" for limit in facts.limits) or UNKNOWN.capitalize() + ".",
    ]
    return "\n\n".join(sections) + "\n"


def _accuracy(facts: CardFacts) -> str:
    if not facts.average_precision:
        return UNKNOWN.capitalize() + "."
    rows = [(name, f"{100 * value:.1f}") for name, value in facts.average_precision.items()]
    return f"{facts.protocol or 'Protocol ' + UNKNOWN}.\n\n{_table(('measure', 'points'), rows)}"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {_cell(left)} | {_cell(right)} |" for left, right in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
