"""The client for threads against the real service over HTTP."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.access import new_key
from service.client import (
    Client,
    ConnectionFailed,
    RequestRefused,
    Retries,
    ServiceFailed,
    ServiceUnavailable,
    TimedOut,
)
from service.errors import EngineFailed

UNAVAILABLE = (503, {"Retry-After": "2"}, b"")
MODELS = (200, {}, b'{"models": []}')


def test_a_picture_is_answered_with_all_that_is_told(client: Client, png: bytes):
    result = client.detect(png)
    assert result.detections.labels == ("red", "blue")
    assert result.detections.boxes.tolist() == [[16, 32, 24, 40], [64, 96, 72, 104]]
    assert result.detections.boxes.dtype == result.detections.scores.dtype == np.float32
    assert result.detections.class_ids.tolist() == [0, 2]
    assert result.image_hw == (128, 128)
    assert (result.model.name, result.model.version) == ("blocks", "1")
    assert result.request_id
    assert 0 < result.stage_seconds["infer"] < 10
    assert client.detect(png).cached


def test_nothing_found_is_an_empty_answer(client: Client, png: bytes):
    detections = client.detect(png, classes=["green"]).detections
    assert (len(detections), detections.boxes.shape, list(detections)) == (0, (0, 4), [])


def test_pictures_come_in_every_form(client: Client, png: bytes, picture: NDArray[np.uint8], tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(png)
    for form in (path, str(path), png, picture):
        assert client.detect(form).detections.labels == ("red", "blue")


def test_options_reach_the_service(client: Client, png: bytes):
    assert client.detect(png, confidence=0.9).detections.labels == ("red",)
    assert client.detect(png, classes=["blue"], version="1").detections.labels == ("blue",)
    assert len(client.detect(png, class_confidence={"red": 0.9, "blue": 0.9}).detections) == 1


@pytest.mark.parametrize(("options", "name"), [({"model": "none"}, "unknown-model"), ({"iou": 7}, "invalid-option")])
def test_a_refusal_says_why_and_is_not_tried_again(client: Client, png: bytes, options: dict[str, Any], name: str):
    with pytest.raises(RequestRefused) as caught:
        client.detect(png, **options)
    assert caught.value.problem.name == name


def test_the_models_are_told(client: Client):
    (model,) = client.models()
    assert (model.name, model.version, model.current, model.ready) == ("blocks", "1", True, True)
    assert model.class_names == ("red", "green", "blue")
    assert model.input_shapes[0] == (128, 128)


def test_a_key_is_brought(make_serving: Callable[..., Any], tmp_path: Path, png: bytes):
    token, entry = new_key("door", ["detect"])
    keys = tmp_path / "keys.toml"
    keys.write_text(entry)
    serving = make_serving(keys_file=keys)
    with Client(serving.url, key=token) as client:
        assert len(client.detect(png).detections) == 2
    with Client(serving.url) as client, pytest.raises(RequestRefused) as caught:
        client.detect(png)
    assert caught.value.problem.status == 401


def test_what_passes_is_tried_again(make_serving: Callable[..., Any], engine_with_switch: Any, png: bytes):
    serving = make_serving(engine_with_switch)
    engine_with_switch.error = EngineFailed("away", retry_after_s=3)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        engine_with_switch.error = None

    with Client(serving.url, retries=Retries(draw=lambda: 0.5), sleep=sleep) as client:
        assert len(client.detect(png).detections) == 2
    assert slept == [3.1]


def test_tries_end_with_the_last_error(scripted: Callable[..., Any]):
    server, slept = scripted(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE), []
    client = Client(server.url, retries=Retries(2, draw=lambda: 0.0), sleep=slept.append)
    with client, pytest.raises(ServiceUnavailable) as caught:
        client.models()
    assert caught.value.retry_after_s == 2
    assert slept == [2, 2]
    assert len(server.asked) == 3


def test_a_connection_that_is_hung_up_is_tried_again(scripted: Callable[..., Any]):
    server, slept = scripted(None, MODELS), []
    with Client(server.url, sleep=slept.append) as client:
        assert client.models() == ()
    assert len(slept) == 1


def test_every_try_is_told_what_is_left(scripted: Callable[..., Any]):
    server, now = scripted(UNAVAILABLE, MODELS), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    retries = Retries(clock=lambda: now[0], draw=lambda: 0.0)
    with Client(server.url, retries=retries, sleep=sleep, timeout_s=9) as client:
        client.models()
    assert [asked["x-request-timeout-ms"] for asked in server.asked] == ["9000", "7000"]


def test_a_failure_of_the_service_is_not_tried_again(scripted: Callable[..., Any]):
    server = scripted((500, {}, b""))
    with Client(server.url) as client, pytest.raises(ServiceFailed):
        client.models()
    assert len(server.asked) == 1


def test_nobody_there_is_a_connection_that_failed():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slept: list[float] = []
    with Client(f"http://127.0.0.1:{port}", sleep=slept.append) as client, pytest.raises(ConnectionFailed):
        client.models()
    assert len(slept) == 3


def test_a_client_that_is_closed_as_it_asks_says_so(scripted: Callable[..., Any]):
    closing: list[Client] = []

    def clock() -> float:
        for client in closing:
            client.close()
        return 0.0

    with Client(scripted(MODELS).url, retries=Retries(0, clock=clock)) as client:
        client.models()
        closing.append(client)
        with pytest.raises(ConnectionFailed, match="closed"):
            client.models()


def test_no_answer_is_waited_for_no_longer_than_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with client, pytest.raises(TimedOut):
            client.models(timeout_s=0.1)


def test_the_service_itself_may_say_that_time_is_up(
    make_serving: Callable[..., Any], engine_with_switch: Any, png: bytes
):
    serving = make_serving(engine_with_switch, request_timeout_ms=100, max_request_timeout_ms=100)
    serving.call(engine_with_switch.gate.clear)
    with Client(serving.url) as client, pytest.raises(TimedOut) as caught:
        client.detect(png)
    assert caught.value.problem.status == 504
    serving.call(engine_with_switch.gate.set)


def test_tls_trusts_the_authority_it_is_given(
    make_serving: Callable[..., Any], certificate: tuple[Path, Path], png: bytes
):
    chain, key = certificate
    serving = make_serving(tls_certificate=chain, tls_key=key)
    with Client(serving.url, grpc=serving.grpc, ca=chain) as client:
        assert len(client.detect(png).detections) == 2
        (answer,) = client.stream([png], delivery="every")
        assert len(answer.detections) == 2
    with Client(serving.url, grpc=serving.grpc, retries=0) as client:
        with pytest.raises(ConnectionFailed):
            client.detect(png)
        with pytest.raises(ConnectionFailed):
            next(client.stream([png]))
