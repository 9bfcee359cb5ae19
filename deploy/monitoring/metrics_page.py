"""Writes docs/metrics.md: every series of the service, its type and labels from the code, and what the labels may say.

    .venv/bin/python deploy/monitoring/metrics_page.py            writes docs/metrics.md
    .venv/bin/python deploy/monitoring/metrics_page.py --check    fails where it is not what it would write

The tests compare the values with those of a service under load.
"""

import argparse
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.detector.sightings import MOST_CLASSES, OUTCOMES
from service.metrics import PREFIX, Metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
# By label, or by series and label. Where nothing stands here, the values are names: of a model, a class, an endpoint.
VALUES: dict[str, tuple[str, ...]] = {
    "transport": ("http", "grpc", "websocket"),
    "stage": ("receive", "decode", "preprocess", "cache", "queue", "infer", "postprocess", "serialise"),
    "images.outcome": OUTCOMES,
    "frames.outcome": ("answered", "failed", "replaced", "stale", "overloaded", "rate"),
    "rejected.reason": (
        "places", "queue", "deadline", "streams", "calls", "health", "reflection", "rate", "unauthenticated",
        "forbidden", "origin",
    ),
    "dropped.reason": ("cancelled", "expired"),
    "result": (
        "hit_memory", "hit_redis", "collapsed", "miss", "late", "skipped", "error", "damaged", "dropped", "refresh",
        "off",
    ),
    "engine": ("embedded", "triton"),
}  # fmt: skip
HEAD = f"""# Metrics

`GET /metrics` is Prometheus' text format, for all processes of a gateway together, without a key. Names begin with
`{PREFIX}_`; a counter's end in `_total`, a histogram has `_bucket`, `_sum` and `_count`. This page is written from the
code by `deploy/monitoring/metrics_page.py`.

Labels are bounded: a route is its template or `unmatched`, a code one of the protocol's, a model one that was loaded, a
class one of its first {MOST_CLASSES} or `other`, a kind the name of a problem or of a failure that was worked around. A
camera's name is in none.

| series | type | labels | |
|---|---|---|---|
"""
VALUES_HEAD = """
| label | values |
|---|---|
"""
TAIL = """
## Drift

`detections`, `detection_score` and `detection_size_ratio` count objects that score 0.25 or more, whatever less a
request asked for. Requests that ask for more, or for some classes only, do show in them. What they are held against
lies beside the model's graph as `reference.json`:

    {"data": "val.json", "images": 125, "objects": 227, "score": 0.52, "size": 0.41, "classes": {"Car": 1.0}}

`deploy/monitoring/reference.py` writes it: it asks a running service for the objects in the pictures of an annotation
file, as clients do. The service reads it whenever it runs the known image. A model without one is held against its own
week before yesterday, by the rules in [recordings.yml](../deploy/prometheus/rules/recordings.yml).
"""


def page() -> str:
    """The text of docs/metrics.md."""
    series = [value for value in vars(Metrics(CollectorRegistry())).values() if isinstance(value, MetricWrapperBase)]
    rows = [_row(each) for each in sorted(series, key=lambda each: each.describe()[0].name)]
    values = [f"| `{name}` | {', '.join(f'`{value}`' for value in told)} |\n" for name, told in VALUES.items()]
    return HEAD + "".join(rows) + VALUES_HEAD + "".join(values) + TAIL


def _row(series: MetricWrapperBase) -> str:
    family = series.describe()[0]
    suffix = "_total" if family.type == "counter" else ""
    # The library tells a series' labels nowhere else.
    labels = ", ".join(f"`{label}`" for label in series._labelnames)  # noqa: SLF001
    return f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |\n"


def main() -> None:
    """Write the page, or say that it is another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/metrics.md is not what the code says: run deploy/monitoring/metrics_page.py")


if __name__ == "__main__":
    main()
