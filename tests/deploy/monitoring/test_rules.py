"""The rules: promtool accepts and tests them, and each finds what it asks for in a real Prometheus."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from .conftest import DEPLOY, Watched

FOLDER = DEPLOY / "prometheus"
RUNBOOK = DEPLOY.parent / "docs" / "runbook.md"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((FOLDER / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
# What cannot be had here, and why.
ABSENT = {"NoGateway": "there are gateways", "NotificationsFail": "test_notifications.py has the Alertmanager"}
COMPARISON = re.compile(r"(==|!=|>=|<=|[<>])(?![^{]*\})")


def test_promtool_accepts_the_configuration(promtool: str):
    command = [promtool, "check", "config", str(FOLDER / "prometheus.yml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((FOLDER / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(promtool: str, path):
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_explained_and_says_what_to_do(name: str):
    alert = ALERTS[name]
    tests = "".join(path.read_text() for path in (FOLDER / "tests").glob("*.yml"))
    assert f'alertname="{name}"' in tests
    assert alert["labels"]["severity"] in ("page", "ticket", "none")
    assert all(alert["annotations"][key] for key in ("summary", "description"))
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert f"\n## {name}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_alert_that_there_is_not():
    assert set(re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize(
    "rule", RULES, ids=lambda rule: rule.get("alert") or f"{rule['record']} {rule.get('labels', '')}"
)
def test_every_rule_finds_what_it_asks_for(watched: Watched, rule: dict[str, Any]):
    """An alert with its comparisons told instead of demanded, and as if what was yesterday were now."""
    asked = re.sub(r" offset \w+", "", COMPARISON.sub(r"\1 bool", rule["expr"]))
    if rule.get("alert") in ABSENT:
        assert watched.prometheus.query(rule["expr"]) == []
    else:
        assert watched.query(asked)


def test_prometheus_evaluates_every_rule_and_reaches_every_target(watched: Watched):
    assert watched.query("yolov7:class_drift:mean1h")
    assert [rule["lastError"] for rule in watched.prometheus.rules() if rule["health"] != "ok"] == []
    health = watched.prometheus.targets()
    assert len(health) == 5
    assert set(health.values()) == {"up"}


def test_what_is_wrong_here_fires(watched: Watched):
    assert watched.query('ALERTS{alertstate="firing",alertname="FileNotRead"}')
