"""What k6 counted in one step, read from the summary that load.js has it write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Statuses that are counted by name; others are counted together. 0: no answer at all.
STATUSES = (0, 200, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504)
PERCENTILES = {"p50": "p(50)", "p90": "p(90)", "p95": "p(95)", "p99": "p(99)", "p99.9": "p(99.9)", "max": "max"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What the generator itself took, from its start to its end: of its CPU, and by the clock."""

    cpu_s: float
    wall_s: float

    @property
    def cores(self) -> float:
        """How many cores it kept busy on average."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One step.

    seconds: from the first request to the last answer 200, but no less than the step was to last unless `cut` short.
    sent, dropped: requests that were posted, and those that were due and found all clients waiting.
    statuses: how many answers had which; `no answer` where a connection failed or the time was up.
    latency_ms: of answers 200, percentiles by name; empty where there was none. failure: one of what went wrong.
    """

    seconds: float
    sent: int
    dropped: int
    statuses: Mapping[str, int]
    latency_ms: Mapping[str, float]
    cost: Cost
    failure: str | None = None
    cut: bool = False

    @property
    def answered(self) -> int:
        """Answers 200."""
        return self.statuses.get("200", 0)

    @property
    def per_second(self) -> float:
        """Answers 200 a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def share(self) -> float:
        """Of all requests that were due, those that were answered 200."""
        due = self.sent + self.dropped
        return self.answered / due if due else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "per_second": self.per_second,
            "latency_ms": dict(self.latency_ms),
            "statuses": dict(self.statuses),
            "sent": self.sent,
            "dropped": self.dropped,
            "seconds": self.seconds,
            "generator": {"cpu_s": self.cost.cpu_s, "wall_s": self.cost.wall_s, "cores": self.cost.cores},
            "failure": self.failure,
            "cut": self.cut,
        }


def read_summary(
    summary: Mapping[str, Any], *, planned_s: float, cost: Cost, failure: str | None = None, cut: bool = False
) -> Figures:
    """`summary` is what k6 gives handleSummary. What never happened is not in it, or is counted as 0."""
    metrics = summary["metrics"]
    statuses = {_spell(name): _count(metrics, f"bench_status_{name}") for name in (*map(str, STATUSES), "other")}
    latency = _values(metrics, "bench_latency")
    answered = statuses["200"]
    spent = _values(metrics, "bench_ended").get("max", 0.0) - _values(metrics, "bench_began").get("min", 0.0)
    seconds = spent / 1000 if answered else 0.0
    return Figures(
        seconds=seconds if cut else max(seconds, planned_s),
        sent=_count(metrics, "bench_sent"),
        dropped=_count(metrics, "dropped_iterations{scenario:measured}"),
        statuses={name: count for name, count in statuses.items() if count},
        latency_ms={name: float(latency[key]) for name, key in PERCENTILES.items()} if answered else {},
        cost=cost,
        failure=failure if statuses["no answer"] else None,  # who gave up after the warm-up is none of these
        cut=cut,
    )


def _spell(status: str) -> str:
    return "no answer" if status == "0" else status


def _values(metrics: Mapping[str, Any], name: str) -> Mapping[str, float]:
    values: Mapping[str, float] = metrics.get(name, {}).get("values", {})
    return values


def _count(metrics: Mapping[str, Any], name: str) -> int:
    return int(_values(metrics, name).get("count", 0))
