"""The service that is asked."""

import pytest

from service.benchmark.target import Target, ask
from service.client.errors import ClientError, ConnectionFailed


def test_the_address_has_the_options():
    target = Target("http://host:1/base/", (("model", "a b"), ("classes", "Car")))
    assert target.detect_url == "http://host:1/base/v1/detect?model=a+b&classes=Car"


def test_the_cache_is_kept_out_unless_it_is_wanted():
    assert Target("http://host").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in Target("http://host", cached=True).headers


def test_the_key_is_not_shown():
    assert "hush" not in repr(Target("http://host", key="hush"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"url": "host:8000"}, "is no URL"),
        ({"url": "http://host", "key": "two words"}, "one word"),
        ({"url": "http://me:hush@host"}, "holds a password"),
        ({"url": "http://host?model=a"}, "--option"),
    ],
)
def test_what_can_be_no_target_is_refused(arguments, why):
    with pytest.raises(ValueError, match=why) as caught:
        Target(**arguments)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "here"), [("http://127.0.0.1:1", True), ("http://localhost", True), ("http://192.0.2.1:8000", False)]
)
def test_it_is_known_whether_it_shares_the_machine(url, here):
    assert Target(url).here is here


def test_what_answers_is_told_of(serving, png):
    server = ask(Target(serving.url), png, timeout_s=10)
    assert server.title.startswith("blocks/1 (f32, openvino")
    assert server.detections == 2
    assert {"decode", "infer", "postprocess"} <= set(server.stages_ms)
    assert server.to_dict()["model"]["precision"] == "f32"


def test_nobody_there_is_a_connection_that_failed(png):
    with pytest.raises(ConnectionFailed):
        ask(Target("http://127.0.0.1:9"), png, timeout_s=2)


def test_what_is_no_picture_is_what_the_service_says(serving):
    with pytest.raises(ClientError, match="no JPEG"):
        ask(Target(serving.url), b"dear diary", timeout_s=10)
