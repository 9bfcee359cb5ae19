"""What the number of gateways follows, and what watches them: metrics that exist, queries that Prometheus answers."""

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
WAIT = 'yolov7_queue_wait_seconds_bucket{namespace="yolov7",pod="a",le="%s"}'


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool")
    return found


def queries(rendered: Any) -> dict[str, str]:
    triggers = rendered["monitoring"].the("ScaledObject", "gateway")["spec"]["triggers"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers}


def _series(name: str) -> str:
    return f"asked:{name}".replace("-", "_")


def evaluated(promtool: str, folder: Path, asked: dict[str, str], series: dict[str, str], expected: dict[str, float]):
    """Has Prometheus's own tool evaluate each query after five minutes of the series."""
    rules = [{"record": _series(name), "expr": query} for name, query in asked.items()]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    wanted = [
        {"expr": f"sum({_series(name)})", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": value}]}
        for name, value in expected.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "15s", "input_series": given, "promql_expr_test": wanted}
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}
    (folder / "tests.yml").write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", "tests.yml"]
    ran = subprocess.run(command, cwd=folder, check=False, timeout=60, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "cell", "tls", "external-redis", "tracing"])
def test_the_autoscaler_follows_what_waits(overlay: str, rendered: Any):
    scaler = rendered[overlay].the("HorizontalPodAutoscaler", "gateway")["spec"]
    deployment = rendered[overlay].the("Deployment", scaler["scaleTargetRef"]["name"])
    assert "replicas" not in deployment["spec"]
    assert scaler["minReplicas"] >= 2
    served = {series.name for series in Metrics(CollectorRegistry()).registry.collect()}
    renamed = yaml.safe_load((KUBERNETES / "monitoring" / "adapter-rules.yaml").read_text())
    served |= {rule["name"]["as"] for rule in renamed if "name" in rule}
    names = {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]}
    assert names == {"yolov7_requests_in_flight", "yolov7_queue_wait_p90_seconds", "yolov7_streams_open"}
    assert names <= served


def test_there_is_one_autoscaler(rendered: Any):
    assert rendered["monitoring"].of("HorizontalPodAutoscaler") == []
    [scaler] = rendered["monitoring"].of("ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]
    assert rendered["monitoring"].the(target["kind"], target["name"])


def test_a_long_queue_and_many_requests_show(rendered: Any, promtool: str, tmp_path: Path):
    """Of ten that joined each 15 s, nine waited for up to 0.1 s, in each of two pods, which have five requests each."""
    series = {WAIT % "0.05": "0+5x20", WAIT % "0.1": "0+9x20", WAIT % "+Inf": "0+10x20"}
    series |= {f'yolov7_requests_in_flight{{namespace="yolov7",pod="{pod}"}}': "5x20" for pod in "ab"}
    series |= {f'yolov7_streams_open{{namespace="yolov7",pod="{pod}",transport="grpc"}}': "30x20" for pod in "ab"}
    evaluated(promtool, tmp_path, queries(rendered), series, {"in-flight": 10, "queue-wait": 0.2, "streams": 60})


def test_nobody_waits_where_nobody_asks(rendered: Any, promtool: str, tmp_path: Path):
    """Without an answer KEDA would take Prometheus for broken and start the fallback."""
    series = {WAIT % "0.1": "7x20", WAIT % "+Inf": "7x20"}
    series |= {'yolov7_requests_in_flight{namespace="yolov7",pod="a"}': "0x20"}
    expected = {"in-flight": 0, "queue-wait": 0, "streams": 0}
    evaluated(promtool, tmp_path, queries(rendered), series, expected)


@pytest.mark.parametrize("overlay", ["monitoring", "cell-monitoring"])
def test_gateways_out_of_sight_are_not_taken_for_idle(overlay: str, rendered: Any, promtool: str, tmp_path: Path):
    """KEDA takes no answer for 0, and would leave the least pods, unless it is told that this is a failure."""
    triggers = rendered[overlay].the("ScaledObject", "gateway")["spec"]["triggers"]
    assert all(trigger["metadata"]["ignoreNullValues"] == "false" for trigger in triggers)
    assert {trigger["metricType"] for trigger in triggers} == {"AverageValue"}  # or no fallback, before KEDA 2.18
    asked = {name: f"count({query}) or vector(0)" for name, query in queries(rendered).items()}
    evaluated(promtool, tmp_path, asked, {"up": "1x20"}, dict.fromkeys(asked, 0))


def test_the_adapter_asks_the_same_of_each_pod(promtool: str, tmp_path: Path):
    rules = yaml.safe_load((KUBERNETES / "monitoring" / "adapter-rules.yaml").read_text())
    asked = {}
    for name, rule in zip(("in-flight", "queue-wait", "streams"), rules, strict=True):
        series, _, _ = rule["seriesQuery"].partition("{")
        query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.GroupBy>>", "namespace, pod")
        asked[name] = query.replace("<<.LabelMatchers>>", 'namespace="yolov7",pod=~"a|b"')
    given = {WAIT % "0.1": "0+9x20", WAIT % "+Inf": "0+10x20"}
    given |= {'yolov7_requests_in_flight{namespace="yolov7",pod="a"}': "5x20"}
    evaluated(promtool, tmp_path, asked, given, {"in-flight": 5, "queue-wait": 0.1, "streams": 0})
    still = {WAIT % "0.1": "7x20", WAIT % "+Inf": "7x20"}
    evaluated(promtool, tmp_path, {"queue-wait": asked["queue-wait"]}, still, {"queue-wait": 0})


@pytest.mark.parametrize("overlay", ["monitoring", "cell-monitoring", "monitoring-tls"])
def test_what_is_scraped_is_there(overlay: str, rendered: Any):
    watched = rendered[overlay]
    jobs = set()
    for monitor in watched.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [each for each in watched.of("Service") if wanted <= each["metadata"]["labels"].items()]
        ports = {port["name"] for service in services for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
        jobs |= {service["metadata"]["labels"][monitor["spec"]["jobLabel"]] for service in services}
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs == {job["job_name"] for job in scraped} - {"prometheus", "yolov7-alertmanager"}


@pytest.mark.parametrize("overlay", ["monitoring", "monitoring-tls"])
def test_the_gateway_is_scraped_as_it_speaks(overlay: str, rendered: Any):
    [endpoint] = rendered[overlay].the("ServiceMonitor", "gateway")["spec"]["endpoints"]
    [container] = rendered[overlay].pods["gateway"]["spec"]["containers"]
    scheme = container["readinessProbe"]["httpGet"].get("scheme", "HTTP").lower()
    assert endpoint.get("scheme", "http") == scheme
    assert ("tlsConfig" in endpoint) == (scheme == "https")
    services = [rendered[overlay].the("Service", name) for name in ("gateway", "gateway-grpc")]
    told = {port["appProtocol"] for service in services for port in service["spec"]["ports"]}
    assert told == ({"https"} if scheme == "https" else {"http", "kubernetes.io/h2c"})


def test_the_rules_are_those_of_prometheus(rendered: Any, promtool: str, tmp_path: Path):
    written = (KUBERNETES / "monitoring" / "rules.yaml").read_text()
    assert written == runpy.run_path(str(KUBERNETES / "rules.py"))["manifest"](), "run `make manifests`"
    for rule in rendered["monitoring"].of("PrometheusRule"):
        path = tmp_path / rule["metadata"]["name"]
        path.write_text(yaml.safe_dump(rule["spec"]))
        checked = subprocess.run([promtool, "check", "rules", path], check=False, timeout=60, capture_output=True)
        assert checked.returncode == 0, checked.stderr
