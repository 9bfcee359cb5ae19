"""The HTTP part of docs/reference/api.md: each route as the application's own OpenAPI document has it."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from markup import anchor, code, plain, table
from schemas import example, fields, given, kind, meaning

from service.api.answer import DetectAnswer
from service.api.problems import MEDIA_TYPE
from service.app import Service, build_application
from service.settings import Settings

TAGS = {
    "detection": "Pictures",
    "stream": "Streams",
    "deepstack": "DeepStack's protocol",
    "models": "Models",
    "operation": "Operation",
}
PROBLEM = "ProblemAnswer"
# From where they are written: in the document their keys are sorted.
EXAMPLES = {"DetectAnswer": dict(DetectAnswer.model_config)["json_schema_extra"]["example"]}
Operation = tuple[str, dict[str, Any]]


def openapi() -> dict[str, Any]:
    """The document that a service with every default answers at /openapi.json."""
    return build_application(Service(Settings.load({}))).openapi()


def contents(document: dict[str, Any]) -> str:
    """What there is, each a link to its section."""
    rows = [(f"[`{name}`]({anchor(name)})", plain(told["summary"])) for name, told in _operations(document)]
    return table(("route", ""), rows)


def routes(document: dict[str, Any]) -> str:
    """A section for each group of routes."""
    found = list(_operations(document))
    tags = list(dict.fromkeys(told["tags"][0] for _, told in found))
    parts = []
    for tag in tags:
        parts.append(f"### {TAGS.get(tag, tag)}\n\n")
        parts += [_section(name, told) for name, told in found if told["tags"][0] == tag]
    return "".join(parts)


def schemas(document: dict[str, Any], problem: dict[str, Any]) -> str:
    """A section for each object that is sent or answered; `problem` is that of every error, which has no name there."""
    return "".join(_schema(*each) for each in [*document["components"]["schemas"].items(), (PROBLEM, problem)])


def _operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield f"{method.upper()} {path}", told


def _section(name: str, told: dict[str, Any]) -> str:
    words = told.get("description", "")
    # What has several lines is Markdown already.
    about = words if "\n" in words else plain(words)
    parts = (
        f"#### {name}\n\n{plain(told['summary'])}.{' ' + about if about else ''}\n\n",
        "Takes a key.\n\n" if told.get("security") else "",
        _parameters(told.get("parameters", [])),
        *_bodies(told.get("requestBody", {}).get("content", {})),
        table(("status", "answer", ""), _answers(told["responses"])),
    )
    return "".join(parts)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = []
    for told in parameters:
        schema = {"description": told.get("description", "")} | told["schema"]
        rows.append((code(told["name"]), told["in"], kind(given(schema)), meaning(schema, told.get("required", False))))
    return table(("parameter", "in", "type", ""), rows)


def _bodies(content: dict[str, Any]) -> Iterator[str]:
    for media_type, told in content.items():
        schema = told["schema"]
        yield f"Body `{media_type}`" + (":\n\n" if "properties" in schema else f": {kind(schema)}.\n\n")
        yield fields(schema, of_request=True)
        if "example" in told:
            yield example(told["example"])


def _answers(responses: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Statuses that are answered alike share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for status, told in responses.items():
        content = told.get("content", {})
        if not content:
            lines.setdefault(("", HTTPStatus(int(status)).phrase), []).append(status)
        for form, each in content.items():
            lines.setdefault((code(form), _answer(form, each.get("schema", {}))), []).append(status)
    for (form, what), statuses in lines.items():
        yield ", ".join(statuses), form, what


def _answer(form: str, schema: dict[str, Any]) -> str:
    if form == MEDIA_TYPE:
        return f"[{PROBLEM}]({anchor(PROBLEM)})"
    return "the picture, with what was found in it" if form.startswith("image/") else kind(schema)


def _schema(name: str, schema: dict[str, Any]) -> str:
    parts = [f"#### {name}\n\n{plain(schema.get('description', ''))}\n\n", fields(schema)]
    if name in EXAMPLES:
        parts.append(example(EXAMPLES[name]))
    return "".join(parts)
