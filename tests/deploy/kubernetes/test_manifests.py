"""The Kubernetes manifests: valid to the letter, and what they promise holds in every overlay."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from service.app.workers import GRACE_S
from service.settings import PREFIX, Settings

from ..memory import most_bytes  # noqa: TID252 - the tests have no name of their own

ROOT = Path(__file__).resolve().parents[3]
SERVING = ("cpu", "gpu", "cell", "monitoring", "cell-monitoring", "tls", "external-redis", "tracing", "monitoring-tls")
EMBEDDED = ("cpu", "tls", "tracing")
ALL = (*SERVING, "secrets", "training")
# Their schemas belong to operators, and no package brings them.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
TRITON_EXIT_S = 30


def main_container(pod: dict[str, Any]) -> dict[str, Any]:
    [container] = pod["spec"]["containers"]
    return container


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in main_container(pod)["env"]}


def files_of_secrets(rendered: Any, pod: dict[str, Any]) -> set[str]:
    """The paths that a pod's mounted Secrets give it, as far as this tree makes them."""
    made = {secret["metadata"]["name"]: secret["data"] for secret in rendered["secrets"].of("Secret")}
    made["gateway-tls"] = {"tls.crt": "", "tls.key": ""}  # cert-manager's
    names = {volume["name"]: volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
    mounts = [mount for mount in main_container(pod)["volumeMounts"] if mount["name"] in names]
    return {f"{mount['mountPath']}/{file}" for mount in mounts for file in made[names[mount["name"]]]}


def seconds_of_pre_stop(pod: dict[str, Any]) -> float:
    command, seconds = main_container(pod)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    return float(seconds)


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("overlay", ALL)
def test_every_object_is_what_kubernetes_takes(overlay: str, version: str, rendered: Any):
    for item in rendered[overlay].objects:
        if item["kind"] not in FOREIGN:
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("overlay", [*SERVING, "training"])
def test_no_pod_can_do_more_than_it_needs(overlay: str, rendered: Any):
    for name, pod in rendered[overlay].pods.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} == set(container["resources"]), name
            assert "memory" in container["resources"]["limits"], name
    [namespace] = rendered[overlay].of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", [*SERVING, "training"])
def test_images_are_pinned(overlay: str, rendered: Any):
    images = [container["image"] for pod in rendered[overlay].pods.values() for container in containers(pod)]
    assert images
    assert all(image.rpartition(":")[2] not in ("", "latest", image) for image in images)


@pytest.mark.parametrize("overlay", SERVING)
def test_a_pod_has_time_for_its_drain(overlay: str, rendered: Any):
    pods = rendered[overlay].pods
    gateway = environment(pods["gateway"])
    drain_s = float(gateway["YOLOV7_DRAIN_DELAY_S"]) + float(gateway["YOLOV7_DRAIN_TIMEOUT_S"]) + GRACE_S
    needed_s = {"gateway": seconds_of_pre_stop(pods["gateway"]) + drain_s}
    if "triton" in pods:
        assert f"--exit-timeout-secs={TRITON_EXIT_S}" in main_container(pods["triton"])["args"]
        needed_s["triton"] = seconds_of_pre_stop(pods["triton"]) + TRITON_EXIT_S
    for name, least in needed_s.items():
        assert pods[name]["spec"]["terminationGracePeriodSeconds"] > least


@pytest.mark.parametrize("overlay", SERVING)
def test_probes_ask_what_they_should(overlay: str, rendered: Any):
    for name, pod in rendered[overlay].pods.items():
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(main_container(pod)), name
    gateway = main_container(rendered[overlay].pods["gateway"])
    asked = {probe: gateway[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert [question["path"] for question in asked.values()] == ["/livez", "/readyz", "/livez"]
    schemes = {question.get("scheme", "HTTP") for question in asked.values()}
    assert schemes == {"HTTPS" if overlay.endswith("tls") else "HTTP"}


@pytest.mark.parametrize("overlay", SERVING)
def test_every_setting_is_one(overlay: str, rendered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = environment(rendered[overlay].pods["gateway"])
    assert all(name.startswith(PREFIX) for name in given)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name, text in (("CACHE_SECRET", "secret"), ("REDIS_URL", "redis://redis:6379/0")):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"{PREFIX}{name}_FILE", str(tmp_path / name))
    settings = Settings.load({})
    assert settings.engine == ("embedded" if overlay in EMBEDDED else "triton")
    assert settings.keys_file is not None
    limit = main_container(rendered[overlay].pods["gateway"])["resources"]["limits"]["memory"]
    assert most_bytes(settings, settings.worker_threads) < int(limit.removesuffix("Gi")) * 1024**3


@pytest.mark.parametrize("overlay", SERVING)
def test_every_file_of_a_secret_is_there(overlay: str, rendered: Any):
    for pod in rendered[overlay].pods.values():
        container = main_container(pod)
        text = " ".join([*environment(pod).values()] if "env" in container else [])
        probe = container["startupProbe"].get("exec", {}).get("command", [])
        words = " ".join([text, *container.get("command", []), *probe]).replace(")", " ").replace('"', " ").split()
        wanted = {word for word in words if word.startswith("/run/secrets/")}
        assert wanted <= files_of_secrets(rendered, pod)


@pytest.mark.parametrize("overlay", [*SERVING, "training"])
def test_secrets_are_in_no_manifest(overlay: str, rendered: Any):
    assert rendered[overlay].of("Secret") == []


def test_the_secrets_keep_their_name_and_stay_out_of_git(rendered: Any):
    """Under another name a changed Secret would start every pod anew; under the same a process reads it."""
    assert {secret["metadata"]["name"] for secret in rendered["secrets"].of("Secret")} == {"gateway", "redis"}
    path = "deploy/kubernetes/secrets/made/keys"
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("overlay", [*SERVING, "training"])
def test_what_is_mounted_is_there(overlay: str, rendered: Any):
    claims = {claim["metadata"]["name"] for claim in rendered[overlay].of("PersistentVolumeClaim")}
    for pod in rendered[overlay].pods.values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for each in containers(pod) for mount in each["volumeMounts"]} == set(volumes)
        if overlay != "training":  # whose claims are the reader's
            assert {
                volume["persistentVolumeClaim"]["claimName"]
                for volume in volumes.values()
                if "persistentVolumeClaim" in volume
            } <= claims


@pytest.mark.parametrize("overlay", ["gpu", "monitoring", "external-redis"])
def test_the_gateway_knows_each_triton_by_name(overlay: str, rendered: Any):
    triton = rendered[overlay].the("StatefulSet", "triton")
    names = [f"triton-{number}.{triton['spec']['serviceName']}:8001" for number in range(triton["spec"]["replicas"])]
    assert environment(rendered[overlay].pods["gateway"])["YOLOV7_TRITON_URLS"].split(",") == names
    assert main_container(rendered[overlay].pods["triton"])["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_cell_shares_memory_and_its_triton_outlives_the_gateway(rendered: Any):
    pod = rendered["cell"].pods["gateway"]
    [triton] = pod["spec"]["initContainers"]
    gateway = main_container(pod)
    shared = [[mount for mount in each["volumeMounts"] if mount["mountPath"] == "/dev/shm"] for each in containers(pod)]
    assert shared[0] == shared[1] != []
    assert "runAsUser" not in triton["securityContext"] | gateway["securityContext"]  # the pod's, of both
    assert environment(pod)["YOLOV7_TRITON_SHARED_MEMORY"] == "on"
    assert triton["restartPolicy"] == "Always"
    drain_s = seconds_of_pre_stop(pod) + 5 + 30 + GRACE_S
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain_s + TRITON_EXIT_S
    update = rendered["cell"].the("Deployment", "gateway")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}  # a pod more would want a GPU more
    taken = {port["containerPort"] for port in gateway["ports"]}
    assert not taken & {8001, 8002, 8003}
    assert {"--http-port=8003", "--grpc-address=127.0.0.1"} <= set(triton["args"])
