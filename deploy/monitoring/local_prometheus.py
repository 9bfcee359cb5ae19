"""A real Prometheus without Docker, with the rules of deploy/prometheus, that scrapes what it is given every second.

It is Debian's package `prometheus`, or whatever `prometheus` is on PATH; so are redis_exporter and promtool.
"""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).resolve().parents[1] / "prometheus" / "prometheus.yml"
HOST = "127.0.0.1"
EVERY = "1s"


class PrometheusError(Exception):
    """It is not installed, did not get ready, or refused a query; the text says which."""


class LocalPrometheus:
    """`targets`: host:port by job of prometheus.yml. Its data are in `folder`, which is the caller's to remove.

    `alertmanager`: host:port of one that is told, or of none.
    """

    def __init__(
        self, folder: Path, targets: Mapping[str, Sequence[str]], port: int, *, alertmanager: str | None = None
    ) -> None:
        self._folder = folder
        self._targets = {**targets, "prometheus": [f"{HOST}:{port}"]}
        self._url = f"http://{HOST}:{port}"
        self._port = port
        self._told = [alertmanager] if alertmanager else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 30.0) -> None:
        """Returns once it answers. Raises PrometheusError."""
        if shutil.which("prometheus") is None:
            raise PrometheusError("no prometheus on PATH: apt-get install prometheus")
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        command += [f"--web.listen-address={HOST}:{self._port}", "--log.level=warn"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + timeout_s
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise PrometheusError(f"prometheus did not get ready: {(self._folder / 'log').read_text()[-2000:]}")
            # Another process's port can only be tried.
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now: `metric` and `value` of each series. Raises PrometheusError."""
        return list(self._ask("query", query=expression)["result"])

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """What it was: `metric` and `values` of each series. Raises PrometheusError."""
        asked = {"query": expression, "start": str(start), "end": str(end), "step": str(step_s)}
        return list(self._ask("query_range", **asked)["result"])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, and how its last evaluation went."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> dict[str, str]:
        """The health of what is scraped, by address."""
        return {target["labels"]["instance"]: target["health"] for target in self._ask("targets")["activeTargets"]}

    def _config(self) -> dict[str, Any]:
        """Of prometheus.yml all but where things are and how often they are asked."""
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": self._told}]}]}
        config["global"] = {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY}
        for job in config["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": list(self._targets.get(job["job_name"], ()))}]
        config["rule_files"] = []
        for path in sorted((CONFIG.parent / "rules").glob("*.yml")):
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                group.pop("interval", None)
            copy = self._folder / path.name
            copy.write_text(yaml.safe_dump(rules, sort_keys=False))
            config["rule_files"].append(str(copy))
        return config

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, what: str, **given: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(given)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as exc:
            raise PrometheusError(f"{given.get('query', what)}: {json.load(exc)['error']}") from exc
