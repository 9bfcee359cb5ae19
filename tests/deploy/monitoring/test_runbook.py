"""docs/runbook.md: what it sends somebody to at 3 a.m. is there: panels, series, settings, containers."""

import json
import re
from itertools import chain

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.metrics import Metrics
from service.settings import Settings

from .conftest import DEPLOY
from .test_rules import RULES, RUNBOOK

ROOT = DEPLOY.parent
TEXT = RUNBOOK.read_text()
# Words with underscores that are no settings: of a stream's options, of cert-manager.
OTHERS = {"max_age", "certmanager_certificate_expiration_timestamp_seconds"}


def test_every_panel_it_names_is_on_a_dashboard():
    boards = [json.loads(path.read_text()) for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")]
    panels = {board["title"]: {panel["title"] for panel in board["panels"]} for board in boards}
    prose = re.sub(r"`[^`]*`|^    .*$", "", TEXT, flags=re.MULTILINE)
    named = set(re.findall(r'"([^"]+)"', prose))
    assert len(named) > 10
    assert named <= set(chain.from_iterable(panels.values()))
    for board, first in re.findall(rf'\*({"|".join(panels)})\*, "([^"]+)"', prose):
        assert first in panels[board]


def test_every_series_it_names_is_counted():
    served = {series.name for series in Metrics(CollectorRegistry()).registry.collect()}
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for name in re.findall(r"yolov7[_:][a-z_:0-9]+\w", TEXT):
        assert name.removesuffix("_total") in served | recorded, name


def test_every_setting_it_names_is_one():
    named = {word for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT) if not word.startswith("yolov7_")} - OTHERS
    assert len(named) > 5
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize("page", ["runbook.md", "deploy.md", "monitoring.md"])
def test_every_container_it_looks_into_is_one(page: str):
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"docker compose (?:logs|exec|restart|ps)((?: -\w+| --\w+ \w+)*) ([a-z][\w-]*)", text)
    assert {name for _, name in named} <= set(services)


def test_every_page_it_points_to_has_that_heading():
    for path, heading in re.findall(r"\]\(([\w./]+\.md)#([\w-]+)\)", TEXT):
        headings = re.findall(r"^#+ (.+)$", (RUNBOOK.parent / path).resolve().read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, heading
