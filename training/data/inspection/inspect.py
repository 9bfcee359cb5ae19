"""The whole check of a set: every finding, and the balance of each part."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from training.data.inspection.balance import Balance, compare, count, find_imbalance
from training.data.inspection.boxes import find_doubtful_boxes
from training.data.inspection.duplicates import find_duplicates
from training.data.inspection.finding import KINDS, Finding, Severity
from training.data.inspection.objects import Objects, read_objects
from training.data.inspection.pictures import look
from training.data.parts import Part


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the check found.

    findings: gravest kind first. objects, balance: by part. image_size: that boxes were measured at.
    """

    image_size: int
    findings: tuple[Finding, ...]
    objects: dict[str, Objects]
    balance: dict[str, Balance]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    def counts(self) -> dict[str, Counter[str]]:
        """Return for each kind that was found, gravest first, how often in each part."""
        found: dict[str, Counter[str]] = {}
        for finding in self.findings:
            found.setdefault(finding.kind, Counter())[finding.part] += 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "image_size": self.image_size,
            "errors": self.errors,
            "parts": {name: asdict(balance) for name, balance in self.balance.items()},
            "findings": [
                {
                    "severity": str(finding.severity),
                    "kind": finding.kind,
                    "part": finding.part,
                    "text": finding.text,
                    "image": finding.image and str(finding.image),
                    "box_xyxy": finding.box_xyxy,
                    "other": finding.other and str(finding.other),
                }
                for finding in self.findings
            ],
        }


def inspect(parts: dict[str, Part], image_size: int) -> Inspection:
    """Check every part, by itself and against the others. Opens every image; raises nothing for what is wrong."""
    findings: list[Finding] = []
    objects: dict[str, Objects] = {}
    balance: dict[str, Balance] = {}
    for name, part in parts.items():
        objects[name], wrong = read_objects(name, part)
        balance[name] = count(objects[name], image_size)
        findings += wrong + find_doubtful_boxes(objects[name], image_size)
        findings += find_imbalance(objects[name], balance[name])
    pictures, unreadable = look(list(objects.values()))
    findings += unreadable + find_duplicates(pictures)
    findings += compare({name: (objects[name], balance[name]) for name in parts})
    rank = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: rank[finding.kind])
    return Inspection(image_size, tuple(findings), objects, balance)
