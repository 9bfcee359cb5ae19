"""Writes monitoring/rules.yaml, the rules of deploy/prometheus for the Prometheus Operator: `make manifests`."""

import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules"
NOTE = "# Written by `make manifests` from deploy/prometheus/rules. Change those.\n"
# One object a file, because a group's name is unique only within its own.
HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: yolov7-{name}
  namespace: yolov7
  labels: {{app.kubernetes.io/part-of: yolov7-service}}
spec:
  groups:
"""


def manifest() -> str:
    """The file's text: an object for each file of rules, by name, with the groups as they are written."""
    return NOTE + "---\n".join(_object(path) for path in sorted(RULES.glob("*.yml")))


def _object(path: Path) -> str:
    groups = path.read_text().split("\ngroups:\n", 1)[1].rstrip("\n")
    return HEAD.format(name=path.stem) + textwrap.indent(groups, "  ") + "\n"


if __name__ == "__main__":
    (HERE / "monitoring" / "rules.yaml").write_text(manifest())
