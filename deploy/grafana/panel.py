"""A dashboard in few words, and the JSON that Grafana 11 makes of it. Knows no metric.

A panel of Grafana's is some sixty lines of JSON, of which four are its own; the others are here once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["lines", "stacked", "heat", "stat", "bars"]

SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24
TYPES: Mapping[Kind, str] = {
    "lines": "timeseries", "stacked": "timeseries", "heat": "heatmap", "stat": "stat", "bars": "bargauge"
}  # fmt: skip
HEIGHTS: Mapping[Kind, int] = {"lines": 8, "stacked": 8, "heat": 8, "stat": 4, "bars": 8}


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: PromQL by legend, which may hold {{label}}; a heat map has one, by `le`. `width` is of 24.

    `red`: from which value on it is to be looked at; with `low`, up to which.
    """

    title: str
    queries: Mapping[str, str]
    kind: Kind = "lines"
    unit: str = "short"
    width: int = 8
    text: str = ""
    red: float | None = None
    low: bool = False
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`variables`: query of label values by name; each becomes a box at the top. `rows`: panels by heading."""

    uid: str
    title: str
    text: str
    variables: Mapping[str, str]
    rows: Mapping[str, tuple[Panel, ...]]
    tags: tuple[str, ...] = field(default=("yolov7-service",))

    def document(self) -> dict[str, Any]:
        """What Grafana provisions."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.text,
            "tags": list(self.tags),
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "links": [
                {
                    "type": "dashboards",
                    "tags": list(self.tags),
                    "title": "Dashboards",
                    "asDropdown": True,
                    "keepTime": True,
                }
            ],
            "annotations": {"list": [_alerts()]},
            "templating": {"list": [_variable(name, query) for name, query in self.variables.items()]},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number, top = 1, 0
        for heading, panels in self.rows.items():
            yield _row(heading, number, top)
            number, top, left, height = number + 1, top + 1, 0, 0
            for panel in panels:
                if left + panel.width > COLUMNS:
                    top, left, height = top + height, 0, 0
                yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": HEIGHTS[panel.kind]})
                number, left, height = number + 1, left + panel.width, max(height, HEIGHTS[panel.kind])
            top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    document = {
        "id": number,
        "type": TYPES[panel.kind],
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(panel, *item, number) for number, item in enumerate(panel.queries.items())],
    }
    return document if panel.text else {key: value for key, value in document.items() if key != "description"}


def _target(panel: Panel, legend: str, query: str, number: int) -> dict[str, Any]:
    at_once = panel.kind in ("stat", "bars")
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query,
        "legendFormat": "{{le}}" if panel.kind == "heat" else legend,
        "format": "heatmap" if panel.kind == "heat" else "time_series",
        "instant": at_once,
        "range": not at_once,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}]
    if panel.red is not None:
        colours = ("red", "green") if panel.low else ("green", "red")
        steps = [{"color": colours[0], "value": None}, {"color": colours[1], "value": panel.red}]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind != "heat":
        defaults["min"] = 0
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind in ("lines", "stacked"):
        stacked = panel.kind == "stacked"
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stacked else 5,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "showPoints": "never",
            "thresholdsStyle": {"mode": "off" if panel.red is None else "line"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "heat":
            return {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64},
                "rowsFrame": {"layout": "auto"},
                "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
                "tooltip": {"mode": "single", "yHistogram": True},
                "legend": {"show": True},
                "showValue": "never",
            }
        case "stat":
            return {"reduceOptions": last, "colorMode": "background", "graphMode": "none", "textMode": "auto"}
        case "bars":
            return {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
        case _:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def _row(heading: str, number: int, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": heading, "collapsed": False, "gridPos": place, "panels": []}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "expr": 'ALERTS{alertstate="firing",severity!="none"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{model}}",
        "iconColor": "red",
        "step": "60s",
    }
