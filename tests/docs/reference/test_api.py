"""docs/reference/api.md has every route, message and problem of the code, and its examples are what they say."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import service.api
from service.api import stream_conversation
from service.api.answer import DetectAnswer, ProblemAnswer
from service.api.problems import TABLE
from service.api.stream_messages import read_message
from service.streams.wire import detection_pb2

CLIENTS = ("open", "frame", "options", "end")
SERVICES = ("opened", "result", "dropped", "error", "closing")


def named_in_the_code() -> Iterator[str]:
    """Of each `Problem(status, "name", …)` that is written out somewhere in the API."""
    for path in Path(str(service.api.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("Problem"), args=[_, ast.Constant(str(name)), *_]):
                    yield name


def examples(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_every_problem_type_is_on_the_page(page: Callable[[str], str], section: Callable[[str, str], str]):
    table = section(page("api.md"), "Errors")
    told = set(re.findall(r"^\| [0-9]{3} \| `([a-z-]+)`", table, re.MULTILINE))
    written_out = set(named_in_the_code())
    assert {"internal", "not-ready", "upgrade-required"} <= written_out
    assert told == {name for _, name, _ in TABLE.values()} | written_out | {"not-found", "method-not-allowed"}


def test_every_route_of_the_application_is_on_the_page(page: Callable[[str], str]):
    from routes import openapi

    routes = {f"{method.upper()} {path}" for path, told in openapi()["paths"].items() for method in told}
    assert set(re.findall(r"^#### ((?:GET|POST) /.*)$", page("api.md"), re.MULTILINE)) == routes


def test_every_example_is_what_it_says(page: Callable[[str], str]):
    upload, detected, problem, *messages = examples(page("api.md"))
    assert list(upload) == ["image"]
    DetectAnswer.model_validate(detected, strict=True)
    ProblemAnswer.model_validate(problem, strict=True)
    assert [message["type"] for message in messages] == [*CLIENTS, *SERVICES]
    for message in messages[: len(CLIENTS)]:
        read = read_message(json.dumps(message))
        assert read.model_dump(exclude_unset=True) == message


def test_the_examples_of_a_stream_have_the_fields_that_the_code_writes(page: Callable[[str], str]):
    told = {message.get("type"): message for message in examples(page("api.md"))}
    source = Path(str(stream_conversation.__file__)).with_name("stream_messages.py").read_text(encoding="utf-8")
    written = {
        node.values[0].value: [key.value for key in node.keys if isinstance(key, ast.Constant)]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Dict) and node.values and isinstance(node.values[0], ast.Constant)
    }
    for name in SERVICES:
        assert list(told[name]) == written[name]
    DetectAnswer.model_validate(told["result"] | {"request_id": ""}, strict=True)


def test_every_end_of_a_stream_is_on_the_page(page: Callable[[str], str], section: Callable[[str, str], str]):
    codes = {value for name, value in vars(stream_conversation).items() if name.isupper() and isinstance(value, int)}
    told = set(map(int, re.findall(r"^\| ([0-9]{4}) \|", section(page("api.md"), "Ends"), re.MULTILINE)))
    assert told == codes - {stream_conversation.LOST}


def test_every_field_of_the_proto_is_on_the_page(page: Callable[[str], str], section: Callable[[str, str], str]):
    for message in detection_pb2.DESCRIPTOR.message_types_by_name.values():
        text = section(page("api.md"), f"Message {message.name}")
        fields = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
        assert fields == [(field.name, str(field.number)) for field in message.fields]
    for method in detection_pb2.DESCRIPTOR.services_by_name["Detection"].methods:
        assert f"| `{method.name}` |" in section(page("api.md"), "Service yolov7.v1.Detection")


@pytest.mark.parametrize(
    "comment", ["One picture. The call's deadline is the request's.", "Rises from frame to frame."]
)
def test_the_comments_of_the_proto_are_on_the_page(comment: str, page: Callable[[str], str]):
    assert comment in page("api.md")
