"""The dashboards: what is committed is what boards.py says, and every query is answered by a real Prometheus."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import DEPLOY, Watched

BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
# What cannot be had here, and why.
ABSENT = {"nv_gpu_": "there is no GPU"}


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


QUERIES = [
    pytest.param(target["expr"], id=f"{path.stem}: {panel['title']}, {target['legendFormat']}")
    for path in BOARDS
    for panel in panels(path)
    for target in panel["targets"]
]


def test_what_is_committed_is_what_the_description_says():
    build = [sys.executable, DEPLOY / "grafana" / "build.py", "--check"]
    done = subprocess.run(build, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_no_panel_lies_on_another(path: Path):
    taken = set()
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_dashboard_and_panel_can_be_told_apart():
    boards = [json.loads(path.read_text()) for path in BOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) == 5
    for board in boards:
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_the_provisioning_names_one_source_which_all_panels_use():
    import yaml

    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for path in BOARDS for panel in panels(path)}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((folder / "dashboards" / "yolov7.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_answered(watched: Watched, at_any_gateway: Callable[[str], str], query: str):
    if any(name in query for name in ABSENT):
        assert watched.prometheus.query(at_any_gateway(query)) == []
    else:
        assert watched.query(at_any_gateway(query))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_box_has_something_to_choose(watched: Watched, path: Path):
    for variable in json.loads(path.read_text())["templating"]["list"]:
        name, _, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").partition(", ")
        assert all(label in series["metric"] for series in watched.query(name))
