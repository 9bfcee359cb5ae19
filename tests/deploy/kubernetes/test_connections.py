"""Who reaches whom: selectors that find pods, ports that exist, policies that admit what is needed and no more."""

from itertools import product
from typing import Any

import pytest

SERVING = ("cpu", "gpu", "cell", "monitoring", "cell-monitoring", "tls", "external-redis", "tracing", "monitoring-tls")
# Who there is beside our own pods: labels of its namespace, its own.
STRANGERS = {
    "client": ({"yolov7-clients": "true", "kubernetes.io/metadata.name": "ingress"}, {}),
    "anybody": ({"kubernetes.io/metadata.name": "default"}, {}),
    "prometheus": ({"kubernetes.io/metadata.name": "monitoring"}, {}),
    "dns": ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
    "kube-system": ({"kubernetes.io/metadata.name": "kube-system"}, {}),
    "collector": ({"kubernetes.io/metadata.name": "monitoring"}, {"app.kubernetes.io/name": "opentelemetry-collector"}),
}
CPU = {("client", "gateway", 8000), ("client", "gateway", 50051), ("gateway", "redis", 6379), ("gateway", "dns", 53)}
GPU = CPU | {("gateway", "triton", 8001)}
# Whoever is in the namespace of Prometheus may scrape.
SCRAPED = {("gateway", 8000), ("redis-exporter", 9121)}
EXPORTER = {("redis-exporter", "redis", 6379), ("redis-exporter", "dns", 53)}


def watched(*more: tuple[str, int]) -> set[tuple[str, str, int]]:
    return EXPORTER | {(who, *what) for who in ("prometheus", "collector") for what in SCRAPED | set(more)}


ADMITTED = {
    "cpu": CPU,
    "tls": CPU,
    "cell": CPU,
    "gpu": GPU,
    "monitoring": GPU | watched(("triton", 8002)),
    "cell-monitoring": CPU | watched(("gateway", 8002)),
    "tracing": CPU | {("gateway", "collector", 4318)},
}
PORTS = {8000, 8001, 8002, 9121, 50051, 6379, 4318, 53, 22}


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def ports_of(pod: dict[str, Any]) -> dict[str, int]:
    """Those of the container that have a name which every cluster looks up."""
    return {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])}


def numbers_of(pod: dict[str, Any]) -> set[int]:
    """Sidecars' as well."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return {port["containerPort"] for container in containers for port in container.get("ports", [])}


def chosen(here: Any, selector: dict[str, Any]) -> list[dict[str, Any]]:
    return [pod for pod in here.pods.values() if matches(selector, pod["metadata"]["labels"])]


class Network:
    """What the policies of one overlay admit, as Kubernetes describes them."""

    def __init__(self, rendered: Any) -> None:
        self.policies = rendered.of("NetworkPolicy")
        [namespace] = rendered.of("Namespace")
        self.home = namespace["metadata"]["labels"] | {"kubernetes.io/metadata.name": namespace["metadata"]["name"]}
        self.pods = rendered.pods

    def place(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        return STRANGERS.get(name) or (self.home, self.pods[name]["metadata"]["labels"])

    def admits(self, source: str, target: str, port: int) -> bool:
        return self._half("Egress", source, target, target, port) and self._half(
            "Ingress", target, source, target, port
        )

    def _half(self, way: str, name: str, other: str, target: str, port: int) -> bool:
        if name in STRANGERS:
            return True
        labels = self.place(name)[1]
        ours = [policy["spec"] for policy in self.policies if matches(policy["spec"]["podSelector"], labels)]
        ours = [spec for spec in ours if way in spec["policyTypes"]]
        rules = [rule for spec in ours for rule in spec.get(way.lower(), [])]
        peers = "to" if way == "Egress" else "from"
        return not ours or any(
            any(self._is(peer, other) for peer in rule[peers]) and self._has(rule, target, port) for rule in rules
        )

    def _is(self, peer: dict[str, Any], name: str) -> bool:
        if "ipBlock" in peer:
            return False
        namespace, labels = self.place(name)
        here = matches(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else namespace is self.home
        return here and matches(peer.get("podSelector", {}), labels)

    def _has(self, rule: dict[str, Any], target: str, port: int) -> bool:
        names = ports_of(self.pods[target]) if target in self.pods else {}
        wanted = [given["port"] for given in rule.get("ports", [])]
        return not wanted or port in [names.get(one, one) for one in wanted]


@pytest.mark.parametrize("overlay", list(ADMITTED))
def test_exactly_what_is_needed_is_admitted(overlay: str, rendered: Any):
    network = Network(rendered[overlay])
    everyone = [*network.pods, *STRANGERS]
    pairs = ((a, b) for a, b in product(everyone, everyone) if a != b and (a in network.pods or b in network.pods))
    admitted = {(a, b, port) for (a, b), port in product(pairs, PORTS) if network.admits(a, b, port)}
    assert admitted == ADMITTED[overlay]


def test_a_redis_elsewhere_is_reached_by_its_address_alone(rendered: Any):
    assert "redis" not in rendered["external-redis"].pods
    [rule] = rendered["external-redis"].the("NetworkPolicy", "gateway-to-redis")["spec"]["egress"]
    assert [list(peer) for peer in rule["to"]] == [["ipBlock"]]
    assert rule["ports"] == [{"port": 6379}]


def test_a_run_of_training_speaks_to_itself_alone(rendered: Any):
    network = Network(rendered["training"])
    assert network.admits("training", "training", 29500)
    assert network.admits("training", "dns", 53)
    assert not any(network.admits("training", name, port) for name, port in product(STRANGERS, PORTS - {53}))
    assert not any(network.admits(name, "training", port) for name, port in product(STRANGERS, PORTS))


@pytest.mark.parametrize("overlay", SERVING)
def test_every_selector_finds_pods(overlay: str, rendered: Any):
    here = rendered[overlay]
    selectors = [{"matchLabels": service["spec"]["selector"]} for service in here.of("Service")]
    selectors += [item["spec"]["selector"] for item in here.of("Deployment", "StatefulSet", "PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"] for policy in here.of("NetworkPolicy")]
    for pod in here.pods.values():
        selectors += [rule["labelSelector"] for rule in pod["spec"].get("topologySpreadConstraints", [])]
    for selector in selectors:
        assert chosen(here, selector), selector


@pytest.mark.parametrize("overlay", SERVING)
def test_every_port_that_is_named_exists(overlay: str, rendered: Any):
    here = rendered[overlay]
    for service in here.of("Service"):
        [pod] = chosen(here, {"matchLabels": service["spec"]["selector"]})
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports_of(pod)) | numbers_of(pod)
    for pod in here.pods.values():
        container = pod["spec"]["containers"][0]
        probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        asked = [probe.get("httpGet") or probe.get("tcpSocket") for probe in probes]
        assert {where["port"] for where in asked if where} <= set(ports_of(pod))
    for policy in here.of("NetworkPolicy"):
        named = [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
        for pod in chosen(here, policy["spec"]["podSelector"]):
            assert set(named) <= set(ports_of(pod)) | numbers_of(pod)


def test_the_pods_of_a_run_find_one_another(rendered: Any):
    job = rendered["training"].the("Job", "training")
    service = rendered["training"].the("Service", "training")
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}  # the label that Kubernetes gives
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert (
        f"--master-addr={job['metadata']['name']}-0.{service['metadata']['name']}"
        in (job["spec"]["template"]["spec"]["containers"][0]["args"])
    )
