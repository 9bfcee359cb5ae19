"""The TLS certificate: what is refused at the start, and what a renewal does to new connections."""

import http.client
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from service.app.certificate import Certificate
from service.errors import StartError
from service.metrics import Metrics
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

Pair = tuple[Path, Path]


def make_pair(folder: Path, name: str) -> Pair:
    """A new key and its own certificate, for 127.0.0.1."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", chain], check=True, capture_output=True, timeout=30)
    return chain, key


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    return make_pair(folder, "first"), make_pair(folder, "second")


@pytest.fixture
def served(pairs: tuple[Pair, Pair], tmp_path: Path) -> Pair:
    """The files of a server, which hold the first pair."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    put(pairs[0], (chain, key))
    return chain, key


def put(pair: Pair, at: Pair) -> None:
    for source, target in zip(pair, at, strict=True):
        target.write_bytes(source.read_bytes())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def counted(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("yolov7_errors_total", {"kind": "certificate"}) or 0.0


def test_files_that_are_not_there_stop_the_start(metrics: Metrics, tmp_path: Path):
    with pytest.raises(StartError, match=r"tls_certificate /nowhere .*No such file"):
        Certificate(Path("/nowhere"), tmp_path / "key", metrics=metrics)


def test_a_key_of_another_certificate_stops_the_start(pairs: tuple[Pair, Pair], metrics: Metrics):
    with pytest.raises(StartError, match="no PEM certificate and key that belong together"):
        Certificate(pairs[0][0], pairs[1][1], metrics=metrics)


def test_what_is_no_pem_stops_the_start(pairs: tuple[Pair, Pair], metrics: Metrics, tmp_path: Path):
    (tmp_path / "chain").write_text("no certificate")
    with pytest.raises(StartError, match="no PEM certificate"):
        Certificate(tmp_path / "chain", pairs[0][1], metrics=metrics)


def test_a_key_with_a_password_stops_the_start(pairs: tuple[Pair, Pair], metrics: Metrics, tmp_path: Path):
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", pairs[0][1], "-out", locked]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    with pytest.raises(StartError, match="needs a password"):
        Certificate(pairs[0][0], locked, metrics=metrics)


def test_a_renewal_is_read_once_both_files_fit(served: Pair, pairs: tuple[Pair, Pair], metrics: Metrics, caplog: Any):
    caplog.set_level("INFO")
    certificate = Certificate(*served, metrics=metrics)
    first = certificate._configuration
    certificate.follow()
    assert certificate._configuration is first
    served[0].write_bytes(pairs[1][0].read_bytes())
    certificate.follow()
    certificate.follow()
    assert (certificate._configuration is first, counted(metrics)) == (True, 1)
    served[1].write_bytes(pairs[1][1].read_bytes())
    certificate.follow()
    assert certificate._configuration is not first
    assert "the TLS certificate was read again" in caplog.text


def shown(port: int) -> bytes:
    """The certificate that a new connection is shown."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=10))


def https(port: int, trusted: Path, path: str) -> int:
    context = ssl.create_default_context(cafile=str(trusted))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def detect(port: int, trusted: Path, data: bytes) -> pb.DetectResponse:
    credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        return DetectionStub(channel).Detect(pb.DetectRequest(image=pb.Image(encoded=data)), timeout=10)


def test_both_servers_speak_tls_and_follow_a_renewal(
    start: Callable[..., Any], served: Pair, pairs: tuple[Pair, Pair], png: bytes
):
    server = start(tls_certificate=served[0], tls_key=served[1])
    for first, pair in ((True, pairs[0]), (False, pairs[1])):
        if not first:
            put(pair, served)
            server.await_log("the TLS certificate was read again")
        wanted = ssl.PEM_cert_to_DER_cert(pair[0].read_text())
        assert (shown(server.port), shown(server.grpc_port)) == (wanted, wanted)
        assert https(server.port, pair[0], "/readyz") == 200
        assert len(detect(server.grpc_port, pair[0], png).detections.scores) == 2
    with pytest.raises(grpc.RpcError):
        detect(server.grpc_port, pairs[0][0], png)


def test_without_tls_a_client_gets_nothing(start: Callable[..., Any], served: Pair, png: bytes):
    server = start(tls_certificate=served[0], tls_key=served[1])
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        DetectionStub(channel).Detect(pb.DetectRequest(image=pb.Image(encoded=png)), timeout=5)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
